import { readdir, readFile } from "node:fs/promises";

/** What a process tells of itself (probe.ts), after a collection of garbage. */
export interface InsideFigures {
  /** Bytes of the JavaScript heap and of buffers. */
  memory: number;
  /** Sockets, timers, requests to the kernel and others that keep the event loop alive. */
  active: number;
  /** The same by kind. */
  resources: Record<string, number>;
}

/**
 * Objects that anything in the process still refers to. To count them takes it the better part of a second, and the compiled
 * code that it has not used meanwhile.
 */
export interface HeldFigures {
  timers: number;
  sockets: number;
  /** Of the link. */
  streams: number;
}

/** What the kernel tells of a process. */
export interface OutsideFigures {
  /** Bytes in memory, now and at most ever. */
  resident: number;
  peak: number;
  descriptors: number;
  threads: number;
  /** How long its main thread has been ready to run while others had the processors, ever. */
  queuedMs: number;
}

/** @throws if there is no such process */
export async function outsideFigures(pid: number): Promise<OutsideFigures> {
  const [status, descriptors, schedule] = await Promise.all([
    readFile(`/proc/${pid}/status`, "utf8"),
    readdir(`/proc/${pid}/fd`),
    readFile(`/proc/${pid}/schedstat`, "utf8"),
  ]);
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(status)![1]);
  return {
    resident: field("VmRSS") * 1024,
    peak: field("VmHWM") * 1024,
    descriptors: descriptors.length,
    threads: field("Threads"),
    queuedMs: Number(schedule.split(" ")[1]) / 1e6,
  };
}
