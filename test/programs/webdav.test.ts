import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { KeyTunnel } from "../../server/access/key.ts";
import { makeAuthority, makeCertificate } from "../support/certificates.ts";
import { skippedWithout } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { startWorld } from "../support/world.ts";
import { certificateFiles, startApache } from "./apache.ts";
import { startNginx } from "./nginx.ts";
import { type OutsideProgram, outputOf } from "./outside-program.ts";

interface DavService {
  program: OutsideProgram & { port: number; documents: string };
  /** How a tunnel leads to it. */
  tunnel: Pick<KeyTunnel, "target" | "targetTls">;
}

/** It takes no Destination of another host. */
async function startPlain(directory: string): Promise<DavService> {
  const program = await startNginx(
    directory,
    ({ port }) => `listen 127.0.0.1:${port};
    server_name nas.test;
    dav_methods PUT DELETE COPY MOVE;`,
  );
  return { program, tunnel: { target: `127.0.0.1:${program.port}` } };
}

/** It takes no Destination of another scheme. */
async function startTls(directory: string): Promise<DavService> {
  const authority = await makeAuthority();
  const identity = await makeCertificate({ authority, names: ["nas.test"] });
  const tls = await certificateFiles(directory, "nas", identity);
  const program = await startApache({
    directory,
    modules: ["dav", "dav_fs", "ssl"],
    config: ({ documents }) =>
      `ServerName nas.test\n${tls}\nDavLockDB ${documents}/.locks\n<Location />\nDav On\n</Location>`,
  });
  const targetTls = { insecure: false, ca: authority.cert, serverName: "nas.test" };
  return { program, tunnel: { target: `https://127.0.0.1:${program.port}`, targetTls } };
}

const CASES = [
  { service: "nginx", start: startPlain, skipped: skippedWithout("nginx", "curl"), refusal: "400" },
  {
    service: "Apache behind https://",
    start: startTls,
    skipped: skippedWithout("apache2", "curl"),
    refusal: "502",
  },
];

for (const { service, start, skipped, refusal } of CASES) {
  test.skipIf(skipped !== "")(
    `WebDAV with a host_header copies and moves where the visitor says, and not to another server (${service})${skipped}`,
    async () => {
      const { program, tunnel } = await start(await temporaryDirectory());
      await using _running = program;
      const { documents, port } = program;
      await using world = await startWorld({
        service: { host: "127.0.0.1", port },
        configured: [
          { name: "nas", kind: "HTTP", hostname: "app.localhost", hostHeader: "nas.test", ...tunnel },
        ],
      });
      const origin = `http://app.localhost:${world.httpPort}`;
      /** The answer's status. */
      const curl = (method: string, file: string, destination: string): Promise<string> =>
        outputOf([
          ..."curl --silent --show-error --max-time 20 --noproxy * --output /dev/null".split(" "),
          "--write-out",
          "%{http_code}",
          "--request",
          method,
          "--resolve",
          `app.localhost:${world.httpPort}:127.0.0.1`,
          "--header",
          `Destination: ${destination}`,
          `${origin}/${file}`,
        ]);
      const files = async (): Promise<string[]> =>
        (await readdir(documents)).filter((name) => !name.startsWith(".")).sort();

      await writeFile(join(documents, "a"), "hello");
      expect(await curl("COPY", "a", `${origin}/b%20c`)).toMatch(/^20[14]$/);
      expect(await files()).toEqual(["a", "b c"]);
      expect(await curl("MOVE", "a", `${origin}/d`)).toMatch(/^20[14]$/);
      expect(await files()).toEqual(["b c", "d"]);
      expect(await curl("MOVE", "d", "http://elsewhere.test/e")).toBe(refusal);
      expect(await files()).toEqual(["b c", "d"]);
    },
  );
}
