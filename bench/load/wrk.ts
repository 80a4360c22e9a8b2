import { findProgram } from "../needed-programs.ts";
import type { Measuring } from "../workload.ts";

export interface WrkResult {
  requests: number;
  rate: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
}

/** @throws if any answer was not a good one */
export async function runWrk(
  { visit, contender, seconds }: Pick<Measuring, "visit" | "contender" | "seconds">,
  connections: number,
  extra: readonly string[] = [],
): Promise<WrkResult> {
  const { host, port, hostname } = contender.entrance;
  const { code, stdout, stderr } = await visit([
    findProgram("wrk")!,
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--latency",
    "--timeout=10s",
    `-HHost: ${hostname}`,
    ...extra,
    `http://${host}:${port}/small`,
  ]);
  if (code !== 0) throw new Error(`wrk: ${stderr.trim() || stdout.trim()}`);
  return parseWrk(stdout);
}

/** @throws if there were errors, or if this is no report of wrk's */
export function parseWrk(report: string): WrkResult {
  const socketErrors = /Socket errors: (.*)/.exec(report)?.[1];
  if (socketErrors !== undefined) throw new Error(`socket errors: ${socketErrors}`);
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(report)?.[1];
  if (refused !== undefined) throw new Error(`${refused} answers were not 2xx`);
  const [, requests, duration, unit] = /(\d+) requests in ([\d.]+)(us|ms|s|m|h)\b/.exec(report) ?? [];
  const [p50, p99] = [50, 99].map((percent) =>
    new RegExp(`^\\s+${percent}(?:\\.000)?%\\s+([\\d.]+)(us|ms|s|m|h)\\b`, "m").exec(report),
  );
  if (!unit || !p50 || !p99) throw new Error(`not a report of wrk's: ${report.trim()}`);
  if (Number(requests) === 0) throw new Error("not one request was answered");
  return {
    requests: Number(requests),
    rate: Number(requests) / (inMs(duration!, unit) / 1_000),
    p50: inMs(p50[1]!, p50[2]!),
    p99: inMs(p99[1]!, p99[2]!),
  };
}

const UNIT_MS: Record<string, number> = { us: 0.001, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

function inMs(value: string, unit: string): number {
  return Number(value) * UNIT_MS[unit]!;
}
