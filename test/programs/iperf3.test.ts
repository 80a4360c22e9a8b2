import { describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { skippedWithout } from "../support/programs.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";
import { tcpTunnel } from "./tcp-tunnel.ts";

interface Report {
  error?: string;
  start: { connected: unknown[] };
  end: { sum_sent: Sum; sum_received: Sum };
}

interface Sum {
  bytes: number;
}

const MIB = 1024 * 1024;
const BYTES = 96 * MIB;

const skipped = skippedWithout("iperf3");

describe.skipIf(skipped !== "")(`iperf3 through a TCP tunnel${skipped}`, () => {
  test.each([
    ["to the local service, on one connection", []],
    ["to the visitor, on one connection", ["-R"]],
    ["to the local service, on four connections at once", ["-P", "4"]],
    ["to the visitor, on four connections at once", ["-P", "4", "-R"]],
  ])("moves bytes %s", async (_, flags) => {
    const [host, port] = ["127.0.0.1", await freePort()];
    await using server = new OutsideProgram(["iperf3", "-s", "-B", host, "-p", String(port), "--forceflush"]);
    await server.printed("Server listening");
    await using tunnel = await tcpTunnel({ host, port });
    const output = await outputOf([
      ...`iperf3 -c ${tunnel.host} -p ${tunnel.port} --json -n ${BYTES}`.split(" "),
      ...flags,
    ]);
    const { error, start, end } = JSON.parse(output) as Report;
    expect(error).toBeUndefined();
    expect(start.connected).toHaveLength(flags.includes("-P") ? 4 : 1);
    expect(end.sum_sent.bytes).toBeGreaterThanOrEqual(BYTES);
    // The sender counts as its own end what was still on its way then.
    expect(end.sum_received.bytes).toBeGreaterThan(BYTES / 2);
    expect(server.stderr).toBe("");
  });
});
