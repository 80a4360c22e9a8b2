import { createHash, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { skippedWithout } from "../support/programs.ts";
import { RawBackend } from "../support/raw-backend.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";

const skipped = skippedWithout("nc.openbsd");

describe.skipIf(skipped !== "")(`nc through a TCP tunnel${skipped}`, () => {
  test("nc -N ends its half, and still hears what the local service makes of all that it sent", async () => {
    await using service = await RawBackend.start(async (connection) => {
      await connection.untilEnded();
      await connection.send(createHash("sha256").update(connection.received).digest("hex"));
      connection.end();
    });
    await using tunnel = await tcpTunnel(service.target);
    const input = randomBytes(3_000_001);
    const output = await outputOf(["nc.openbsd", "-N", tunnel.host, String(tunnel.port)], { input });
    expect(output).toBe(createHash("sha256").update(input).digest("hex"));
  });

  test("nc hears the end of a local service that has said all, and what it sends then still arrives", async () => {
    await using service = await RawBackend.start(async (connection) => {
      await connection.send("welcome, and that is all\n");
      connection.end();
    });
    await using tunnel = await tcpTunnel(service.target);
    await using nc = new OutsideProgram(["nc.openbsd", "-N", tunnel.host, String(tunnel.port)]);
    const connection = await service.connection(0);
    await nc.printed("that is all\n");
    nc.stdin.end("goodbye\n");
    await connection.untilEnded();
    expect(connection.text).toBe("goodbye\n");
    expect(await nc.exit()).toBe(0);
  });
});
