import type { Weather } from "./weather.ts";

/** An answer that no fault excuses: wrong bytes, an odd status, none at all. */
export class WrongAnswer extends Error {}

const MAX_KEPT = 20;

/** Every visit and how it ended. */
export class Ledger {
  answered = 0;
  /** Failed while a fault was about. */
  excused = 0;
  failed = 0;
  /** The first failures, in words. */
  readonly failures: string[] = [];
  /** Of the timed ones that met no fault. */
  slowestMs = 0;

  /** Runs a visit, and judges how it ends by the weather that it met. */
  async enter(what: string, weather: Weather, visit: () => Promise<void>, timed = false): Promise<void> {
    const startedAt = performance.now();
    const { calm, faults } = weather;
    const metNoFault = (): boolean => calm && weather.faults === faults;
    try {
      await visit();
      this.answered++;
      if (timed && metNoFault()) this.slowestMs = Math.max(this.slowestMs, performance.now() - startedAt);
    } catch (error) {
      if (error instanceof WrongAnswer || metNoFault()) this.fail(`${what}: ${describe(error)}`);
      else this.excused++;
    }
  }

  fail(what: string): void {
    this.failed++;
    if (this.failures.length < MAX_KEPT) this.failures.push(`${new Date().toISOString()} ${what}`);
  }
}

function describe(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined ? message : `${message} (${code})`;
}
