import { writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import {
  createKeyByCommand,
  startClientProcess,
  startServerProcess,
  type Program,
} from "../support/processes.ts";
import { RawBackend } from "../support/raw-backend.ts";
import { RawVisitor } from "../support/raw-visitor.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const LIMIT_BYTES = 16 * MIB;
const STALLED = 2_000;
/** Each sends more than the server reads ahead of it; what it would read of all together is eight times the limit. */
const SENT = Buffer.alloc(128 * KIB, "x");
/** Three records of a ClientHello that is longer: 48 KiB that wait for the rest. */
const UNFINISHED_HELLO = Buffer.concat(Array.from({ length: 3 }, (_, i) => helloRecord(i === 0)));
/** Half of it is what 4,000 connections take by themselves. With a limit of 1 GiB, 3,000 of them took 269 MiB (measured). */
const MOST_BYTES = 160 * MIB;

function helloRecord(first: boolean): Buffer {
  const record = Buffer.alloc(5 + 16_384);
  record.set([22, 3, 1, 0x40, 0x00]);
  if (first) record.set([1, 0x00, 0xff, 0x00], 5);
  return record;
}

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** So many visitors who send this and then nothing; how many of them the server has cut off since. */
async function stall(count: number, port: number, sent: Buffer): Promise<{ cut: number }> {
  const seen = { cut: 0 };
  const visit = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      sockets.push(socket);
      socket.on("error", () => {});
      socket.once("close", () => {
        seen.cut++;
        resolve();
      });
      socket.write(sent, () => resolve());
    });
  for (let come = 0; come < count; come += 100) await Promise.all(Array.from({ length: 100 }, visit));
  return seen;
}

function portOf(url: unknown): number {
  return Number(String(url).split(":").at(-1));
}

test(
  "thousands of visitors whose bytes nobody takes, and of ClientHellos without an end, take little more memory than visitor_unread_bytes, and an honest visitor is served",
  { timeout: 60_000 },
  async () => {
    await using echo = await RawBackend.start(async (connection) => {
      for (;;) await connection.send(await connection.take(5));
    });
    const dataDir = await temporaryDirectory();
    const config = join(dataDir, "config.yaml");
    await writeFile(
      config,
      `http: { listen: "127.0.0.1:0" }
grpc: { listen: "127.0.0.1:0" }
tcp: { listen: 127.0.0.1 }
tls: { listen: "127.0.0.1:0" }
limits: { visitor_unread_bytes: ${LIMIT_BYTES} }
`,
    );
    await using server = await startServerProcess(dataDir, ["--config", config]);
    const tlsPort = portOf((await server.logged("listening"))["tls"]);
    const token = await createKeyByCommand(dataDir, server.grpcPort, ["--config", config]);
    const start = (name: string): Program =>
      startClientProcess({ token, dataDir: join(dataDir, name), tls: true }, [
        "tcp",
        String(echo.target.port),
      ]);
    await using frozen = start("frozen");
    await using served = start("served");
    const frozenPort = portOf((await frozen.logged("serving"))["url"]);
    const servedPort = portOf((await served.logged("serving"))["url"]);
    // From now on nobody takes what its visitors send.
    frozen.kill("SIGSTOP");
    const restingBytes = server.residentBytes();

    const honest = await RawVisitor.connect(servedPort);
    const exchange = async (): Promise<void> => {
      honest.send("hello");
      expect((await honest.bytes(5)).toString()).toBe("hello");
    };
    let mostBytes = 0;
    const stalled = [
      [frozenPort, SENT],
      [tlsPort, UNFINISHED_HELLO],
    ] as const;
    for (const [port, sent] of stalled) {
      const seen = await stall(STALLED, port, sent);
      // What the server has not yet got round to reading is not the server's.
      await expect.poll(() => seen.cut, { timeout: 20_000 }).toBeGreaterThan(STALLED / 2);
      mostBytes = Math.max(mostBytes, server.residentBytes());
      await exchange();
    }
    expect(mostBytes - restingBytes).toBeLessThan(MOST_BYTES);
    await server.logged("more than limits.visitor_unread_bytes lay unread: those who held most were cut off");
    honest.close();
    frozen.kill("SIGCONT");
  },
);
