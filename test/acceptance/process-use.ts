import { readdir, readFile, writeFile } from "node:fs/promises";

/** Memory that a process has in use. */
export function residentBytes(pid: number): Promise<number> {
  return statusBytes(pid, "VmRSS");
}

/** The most memory that a process has had in use, since its start or `forgetPeak`. */
export function peakBytes(pid: number): Promise<number> {
  return statusBytes(pid, "VmHWM");
}

export async function forgetPeak(pid: number): Promise<void> {
  // proc(5): 5 resets the peak to what is in use now.
  await writeFile(`/proc/${pid}/clear_refs`, "5");
}

/** Files and sockets that a process has open. */
export async function openDescriptors(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}

async function statusBytes(pid: number, name: string): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(status)![1]) * 1024;
}
