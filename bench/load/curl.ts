import { findProgram } from "../needed-programs.ts";
import { MB } from "../units.ts";
import type { Measuring } from "../workload.ts";

type Visitor = Pick<Measuring, "visit" | "contender">;

/** A whole file. @returns MB/s @throws if it is not of this length */
export async function download(visitor: Visitor, path: string, bytes: number): Promise<number> {
  const { ms } = await curl(
    visitor,
    path,
    ["-o", "/dev/null", "-w", `%{http_code} %{size_download}`],
    `200 ${bytes}`,
  );
  return bytes / MB / (ms / 1_000);
}

/** @returns MB/s @throws if not as much arrives as was sent */
export async function upload(visitor: Visitor, file: string, bytes: number): Promise<number> {
  const { ms } = await curl(
    visitor,
    "/sink",
    ["-T", file, "-H", "Expect:", "-w", " %{http_code}"],
    `${bytes} 200`,
  );
  return bytes / MB / (ms / 1_000);
}

/** The command for a file that is thrown away. */
export function curlCommand({ contender }: Pick<Measuring, "contender">, path: string): string[] {
  const { host, port, hostname } = contender.entrance;
  return [
    findProgram("curl")!,
    "-sS",
    "--noproxy",
    "*",
    "-H",
    `Host: ${hostname}`,
    `http://${host}:${port}${path}`,
  ];
}

async function curl(
  visitor: Visitor,
  path: string,
  options: string[],
  expected: string,
): Promise<{ ms: number }> {
  const { code, stdout, stderr, ms } = await visitor.visit([...curlCommand(visitor, path), ...options]);
  if (code !== 0) throw new Error(`curl: ${stderr.trim()}`);
  if (stdout !== expected) throw new Error(`curl: expected "${expected}", got "${stdout.slice(0, 200)}"`);
  return { ms };
}
