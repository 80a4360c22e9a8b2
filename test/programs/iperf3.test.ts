import { describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { skippedWithout } from "../support/programs.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";
import { tcpAndUdpTunnel, tcpTunnel } from "./tcp-tunnel.ts";

interface Report {
  error?: string;
  start: { connected: unknown[] };
  end: { sum_sent: Sum; sum_received: Sum };
}

interface Sum {
  bytes: number;
}

interface UdpReport {
  error?: string;
  end: { sum: { packets: number; lost_packets: number } };
}

const MIB = 1024 * 1024;
const BYTES = 96 * MIB;

const skipped = skippedWithout("iperf3");

describe.skipIf(skipped !== "")(`iperf3 through a tunnel${skipped}`, () => {
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

  // As many as a call with pictures has.
  test.each([
    ["to the local service", []],
    ["to the visitor", ["-R"]],
  ])("counts the datagrams that are lost %s, and hardly any are", async (_, flags) => {
    const [host, port] = ["127.0.0.1", await freePort()];
    await using server = new OutsideProgram(["iperf3", "-s", "-B", host, "-p", String(port), "--forceflush"]);
    await server.printed("Server listening");
    await using tunnel = await tcpAndUdpTunnel({ host, port });
    const command = `iperf3 -c ${tunnel.host} -p ${tunnel.port} --json --udp --length 1200 --bitrate 4M --bytes 1M`;
    const { error, end } = JSON.parse(await outputOf([...command.split(" "), ...flags])) as UdpReport;
    expect(error).toBeUndefined();
    expect(end.sum.packets).toBeGreaterThan(800);
    expect(end.sum.lost_packets).toBeLessThan(end.sum.packets / 10);
  });
});
