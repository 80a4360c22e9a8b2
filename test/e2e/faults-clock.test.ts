import { readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { startLocalWeb } from "../support/local-web.ts";
import { CLIENT, createKeyByCommand, SERVER, startProgram, type Program } from "../support/processes.ts";
import { hasProgram } from "../support/programs.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { request } from "../support/world.ts";

const HOUR_MS = 3_600_000;
/** Node looks every 5 s for heads that take too long: the one timeout here that has no timer of its own. */
const HEAD_CHECK_MS = 6_000;
const skipped = hasProgram("faketime") ? "" : " (skipped: no faketime)";

test.skipIf(skipped !== "").each([1, -2])(
  `a clock that jumps by %i h on both ends costs nobody a connection, a wait or a name${skipped}`,
  { timeout: 60_000 },
  async (hours) => {
    const directory = await temporaryDirectory();
    const clock = join(directory, "clock");
    const jumpTo = (hours: number): Promise<void> => writeFile(clock, `${hours < 0 ? "" : "+"}${hours}h\n`);
    await jumpTo(0);
    // Only the time of day: the clock that timers go by never jumps.
    const env = {
      LD_PRELOAD: fakeTimeLibrary(),
      FAKETIME_TIMESTAMP_FILE: clock,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
    let endless: ServerResponse | undefined;
    await using web = await startLocalWeb((incoming, response) => {
      if (incoming.url === "/endless") endless = response.writeHead(200);
      response.write("served");
      if (incoming.url !== "/endless") response.end();
    });
    await using server = startProgram(
      SERVER,
      [`--data-dir=${directory}`, "--http-listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0"],
      { env },
    );
    const { http, grpc } = await server.logged("listening");
    const [httpPort, grpcPort] = [portOf(http), portOf(grpc)];
    const token = await createKeyByCommand(directory, grpcPort);
    const startClient = (): Program =>
      startProgram(
        CLIENT,
        ["http", String(web.port), "--subdomain", "app", "--key", token, `--data-dir=${directory}/client`],
        { env },
      );
    await using client = startClient();
    await client.logged("serving");

    const listener = await RawVisitor.connect(httpPort);
    listener.send("GET /endless HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    await listener.head();
    await listener.bytes("6\r\nserved\r\n".length);
    const idle = await RawVisitor.connect(httpPort);
    idle.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    expect((await idle.answer()).status).toBe(200);
    const halfHead = await RawVisitor.connect(httpPort);
    halfHead.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n");

    await jumpTo(hours);
    await sleep(HEAD_CHECK_MS);
    expect((await request(httpPort, "/")).status).toBe(200);
    for (const program of [server, client]) {
      // The first was the one before the jump.
      const { time } = await program.logged("request", 2);
      expect((Date.parse(String(time)) - Date.now()) / HOUR_MS).toBeCloseTo(hours, 1);
      expect(program.lines.filter(({ level }) => level !== "info")).toEqual([]);
    }
    endless!.write("more");
    expect((await listener.bytes("4\r\nmore\r\n".length)).toString()).toBe("4\r\nmore\r\n");
    for (const [visitor, rest] of [
      [idle, "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n"],
      [halfHead, "\r\n"],
    ] as const) {
      visitor.send(rest);
      expect((await visitor.answer()).status).toBe(200);
    }
    expect(client.lines.filter(({ message }) => message === "online")).toHaveLength(1);

    // Its name is kept for ten minutes, and not until a time of day.
    client.kill("SIGKILL");
    await server.logged("client offline");
    await jumpTo(2 * hours);
    expect((await request(httpPort, "/")).status).toBe(503);
    await using again = startClient();
    await again.logged("serving");
    expect((await request(httpPort, "/")).status).toBe(200);
    for (const visitor of [listener, idle, halfHead]) visitor.close();
  },
);

/** Where Debian keeps it: below the directory of the machine's architecture. */
function fakeTimeLibrary(): string {
  const libraries = readdirSync("/usr/lib").map((name) => `/usr/lib/${name}/faketime`);
  for (const directory of libraries) {
    try {
      if (readdirSync(directory).includes("libfaketimeMT.so.1")) return `${directory}/libfaketimeMT.so.1`;
    } catch {
      // Not there.
    }
  }
  throw new Error("faketime is here, and its library is not in /usr/lib/*/faketime");
}

function portOf(address: unknown): number {
  return Number(String(address).split(":").pop());
}
