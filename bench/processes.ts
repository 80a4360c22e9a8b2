import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** What the kernel counts a process's time in: USER_HZ, 100 on all that Node runs on. */
const TICKS_PER_SECOND = 100;

/** These processes and all that descend from them, as long as they live: sshd and nginx work in children. */
export function families(pids: readonly number[]): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!(pid > 0)) continue;
    const parent = Number(statOf(pid)?.[1]);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const found = [...pids];
  for (const pid of found) found.push(...(children.get(pid) ?? []));
  return found;
}

/** Processor time, in the kernel too, of these families so far. */
export function cpuSeconds(pids: readonly number[]): number {
  const ticks = sum(families(pids), (pid) => {
    const stat = statOf(pid);
    return stat ? Number(stat[11]) + Number(stat[12]) : 0;
  });
  return ticks / TICKS_PER_SECOND;
}

export function residentBytes(pids: readonly number[]): number {
  return sum(families(pids), (pid) => statusField(pid, "VmRSS"));
}

/** The most that each process has held since `resetPeaks`, added up. */
export function peakBytes(pids: readonly number[]): number {
  return sum(families(pids), (pid) => statusField(pid, "VmHWM"));
}

export function resetPeaks(pids: readonly number[]): void {
  for (const pid of families(pids)) {
    try {
      writeFileSync(`/proc/${pid}/clear_refs`, "5");
    } catch {
      // Another user's, or gone: its peak is then of its whole life.
    }
  }
}

/** What a process has written so far, to files and to /dev/null. */
export function writtenBytes(pid: number): number {
  return Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))![1]);
}

/** What follows a process's name in its stat: state, parent, … */
function statOf(pid: number): string[] | undefined {
  const text = read(`/proc/${pid}/stat`);
  return text?.slice(text.lastIndexOf(")") + 2).split(" ");
}

function statusField(pid: number, name: string): number {
  const text = read(`/proc/${pid}/status`) ?? "";
  return Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(text)?.[1] ?? 0) * 1024;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function sum(pids: readonly number[], figure: (pid: number) => number): number {
  return pids.reduce((total, pid) => total + figure(pid), 0);
}
