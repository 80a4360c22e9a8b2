import type { Row } from "./summary.ts";

/** What must hold of culvert with TLS: of a ratio to a peer in the same run, or of a figure of its own. */
export interface Target {
  title: string;
  workload: string;
  figure: string;
  /** Left out: the figure itself counts. */
  peer?: string;
  better: "more" | "less";
  must: number;
  stretch: number;
}

export interface Verdict extends Target {
  /** Undefined if it was not measured, or failed. */
  measured: number | undefined;
  ok: boolean | undefined;
}

/** As ratios of rates and speeds. */
function atLeast(
  title: string,
  workload: string,
  peer: string,
  [must, stretch]: [number, number],
  figure = workload.includes("get") ? "rate" : "speed",
): Target {
  return { title, workload, figure, peer, better: "more", must, stretch };
}

function atMost(title: string, workload: string, figure: string, [must, stretch]: [number, number]): Target {
  return { title, workload, figure, better: "less", must, stretch };
}

export const TARGETS: readonly Target[] = [
  atLeast("small GET, 1 connection ÷ ssh -R", "get-1", "ssh", [0.9, 1.3]),
  atLeast("small GET, 16 ÷ ssh -R", "get-16", "ssh", [1.7, 2.8]),
  atLeast("small GET, 64 ÷ ssh -R", "get-64", "ssh", [1.3, 1.8]),
  atLeast("small GET, 64 ÷ localtunnel", "get-64", "localtunnel", [4, 6]),
  atLeast("small GET, 64 ÷ nginx proxy", "get-64", "nginx", [0.35, 0.5]),
  atLeast("small GET, 256 ÷ ssh -R", "get-256", "ssh", [0.6, 1.0]),
  { ...atMost("p99 at 64 ÷ ssh -R's", "get-64", "p99", [0.5, 0.2]), peer: "ssh" },
  atLeast("1 GiB down ÷ ssh -R", "down-1g", "ssh", [0.9, 1.3]),
  atLeast("1 GiB up ÷ ssh -R", "up-1g", "ssh", [0.7, 1.0]),
  atLeast("8 at once down ÷ ssh -R", "down-8", "ssh", [1.0, 1.4]),
  atLeast("100 ms, one download ÷ ssh -R", "far-down-1", "ssh", [3, 3.3]),
  atLeast("100 ms, eight downloads ÷ direct", "far-down-8", "direct", [0.85, 0.95]),
  atMost("10,000 polls, KB each, server", "polls-10000", "serverEach", [12, 5]),
  atMost("10,000 polls, KB each, client", "polls-10000", "clientEach", [12, 5]),
  atMost("16 stalled readers: others' GETs lose %", "stalled", "getLoss", [5, 0]),
  atMost("16 stalled readers: a download loses %", "stalled", "downLoss", [5, 0]),
  atMost("10 GiB: server grows after the first, MiB", "volume", "serverGrowth", [16, 0]),
  atMost("10 GiB: client grows after the first, MiB", "volume", "clientGrowth", [16, 0]),
];

/** @param ours the contender that they are about */
export function judge(rows: readonly Row[], ours: string): Verdict[] {
  return TARGETS.map((target) => {
    const row = rows.find(
      ({ workload, contender }) => workload === target.workload && contender === (target.peer ?? ours),
    );
    const measured = (target.peer === undefined ? row?.figures : row?.ratios)?.[target.figure]?.median;
    const ok = measured === undefined ? undefined : reaches(target, measured, target.must);
    return { ...target, measured, ok };
  });
}

/** Those that were measured, a line each. */
export function verdictLines(verdicts: readonly Verdict[]): string[] {
  return verdicts.flatMap((verdict) => {
    const { title, better, must, stretch, measured, ok } = verdict;
    if (measured === undefined) return [];
    const sign = better === "more" ? "≥" : "≤";
    const word = !ok ? "MISSED" : reaches(verdict, measured, stretch) ? "ok, stretch too" : "ok";
    return `  ${title.padEnd(44)}${measured.toFixed(2).padStart(9)}   must ${sign} ${String(must).padEnd(5)} stretch ${sign} ${String(stretch).padEnd(5)} ${word}`;
  });
}

function reaches({ better }: Target, measured: number, bound: number): boolean {
  return better === "more" ? measured >= bound : measured <= bound;
}
