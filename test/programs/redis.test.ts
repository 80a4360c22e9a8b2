import { describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { skippedWithout } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";

interface Redis extends AsyncDisposable {
  host: string;
  port: number;
}

async function startRedis(): Promise<Redis> {
  const [host, port] = ["127.0.0.1", await freePort()];
  const options = { bind: host, port, dir: await temporaryDirectory(), save: "", appendonly: "no" };
  const server = new OutsideProgram([
    "redis-server",
    ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]),
  ]);
  await server.printed("Ready to accept connections");
  return { host, port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

function at({ host, port }: { host: string; port: number }): string[] {
  return ["-h", host, "-p", String(port)];
}

const skipped = skippedWithout("redis-server", "redis-cli", "redis-benchmark");

describe.skipIf(skipped !== "")(`Redis through a TCP tunnel${skipped}`, () => {
  test("redis-benchmark gets an answer to each command that 50 connections send 16 at a time, and no error", async () => {
    await using redis = await startRedis();
    await using tunnel = await tcpTunnel(redis);
    const [requests, tests] = [100_000, ["ping_mbulk", "set", "get"]];
    const output = await outputOf([
      "redis-benchmark",
      ...at(tunnel),
      ...`-P 16 -c 50 -n ${requests} -d 100 -r 1000 -e --csv -t ${tests.join(",")}`.split(" "),
    ]);
    const [, ...rows] = output.trim().split("\n");
    const rates = rows.map((row) => row.split(",").map((field) => JSON.parse(field) as string));
    expect(rates.map(([name]) => name)).toEqual(["PING_MBULK", "SET", "GET"]);
    for (const [, perSecond] of rates) expect(Number(perSecond)).toBeGreaterThan(0);
    // What the server itself says: each of them, once.
    const stats = await outputOf(["redis-cli", ...at(redis), "info", "commandstats"]);
    for (const command of ["ping", "set", "get"]) {
      expect(stats).toMatch(
        new RegExp(`^cmdstat_${command}:calls=${requests},.*rejected_calls=0,failed_calls=0\r$`, "m"),
      );
    }
  });

  test("redis-cli --pipe sends 50,000 commands without waiting, and gets every answer", async () => {
    await using redis = await startRedis();
    await using tunnel = await tcpTunnel(redis);
    const count = 50_000;
    const input = Array.from({ length: count }, (_, i) => `SET key:${i} ${"x".repeat(i % 400)}${i}\r\n`).join(
      "",
    );
    const output = await outputOf(["redis-cli", ...at(tunnel), "--pipe"], { input });
    expect(output).toContain(`errors: 0, replies: ${count}`);
    expect(await outputOf(["redis-cli", ...at(tunnel), "dbsize"])).toBe(`${count}\n`);
    expect(await outputOf(["redis-cli", ...at(tunnel), "get", "key:401"])).toBe("x401\n");
  });

  test("redis-cli hears what another one publishes, on a connection that was quiet", async () => {
    await using redis = await startRedis();
    await using tunnel = await tcpTunnel(redis);
    await using subscriber = new OutsideProgram(["redis-cli", ...at(tunnel), "subscribe", "news"]);
    await subscriber.printed("subscribe\nnews\n1\n");
    expect(await outputOf(["redis-cli", ...at(tunnel), "publish", "news", "it works"])).toBe("1\n");
    await subscriber.printed("message\nnews\nit works\n");
  });
});
