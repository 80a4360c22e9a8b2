import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../free-port.ts";
import { Owned } from "../owned.ts";
import { Program } from "../program.ts";
import { GIB, MIB } from "../units.ts";
import { startNginx } from "./nginx.ts";

const SERVICE = fileURLToPath(new URL("service.js", import.meta.url));

/** Sparse files, so that the disk has no part in it. */
export const FILES = {
  "256m": 256 * MIB,
  "1g": GIB,
  "4g": 4 * GIB,
};

/** The local service that all contenders bring to their visitors. */
export interface Backend extends AsyncDisposable {
  readonly port: number;
  /** A file to upload. */
  readonly file: string;
}

/**
 * nginx answers `/small` and the files of `FILES` by itself; what it cannot do is done by service.ts behind it: `/sink` takes
 * uploads and answers with their length, `/hold` never answers, `/held` says how many wait there, `/echo` is a WebSocket.
 *
 * @param at what stands before its commands
 */
export async function startBackend(
  directory: string,
  { at, host }: { at: readonly string[]; host: string },
): Promise<Backend> {
  const files = join(directory, "files");
  mkdirSync(files);
  writeFileSync(join(files, "small"), "x".repeat(149) + "\n");
  for (const [name, bytes] of Object.entries(FILES)) {
    writeFileSync(join(files, name), "");
    truncateSync(join(files, name), bytes);
  }
  const owned = new Owned();
  try {
    const socket = join(directory, "service.sock");
    const service = owned.own(
      new Program({
        name: "the local service",
        command: [...at, process.execPath, SERVICE, socket],
        logFile: join(directory, "service.log"),
      }),
    );
    await service.said(/listening/);
    const port = await freePort();
    const hosts = [...new Set(["127.0.0.1", host])];
    owned.own(
      await startNginx({
        name: "nginx as the local service",
        directory,
        at,
        http: `
          open_file_cache max=100 inactive=1h;
          open_file_cache_valid 1h;
          upstream service { server unix:${socket}; keepalive 64; }
          map $http_upgrade $connection_field { default upgrade; "" ""; }
          server {
            ${hosts.map((listen) => `listen ${listen}:${port} reuseport backlog=16384;`).join("\n")}
            root ${files};
            location ~ ^/(sink|hold|held|echo)$ {
              proxy_pass http://service;
              proxy_http_version 1.1;
              proxy_set_header Upgrade $http_upgrade;
              proxy_set_header Connection $connection_field;
              proxy_request_buffering off;
              proxy_buffering off;
              proxy_read_timeout 1h;
            }
          }`,
      }),
    );
    return { port, file: join(files, "1g"), [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose]() };
  } catch (error) {
    await owned[Symbol.asyncDispose]();
    throw error;
  }
}
