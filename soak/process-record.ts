import { outsideFigures, type HeldFigures, type InsideFigures, type OutsideFigures } from "./figures.ts";
import type { Program } from "./program.ts";
import type { Sample } from "./trend.ts";
import type { Figure } from "./verdict.ts";

/** What was seen of one process at one moment. */
interface Look extends OutsideFigures {
  minutes: number;
  /** Only while no fault was about. */
  inside?: InsideFigures | undefined;
  /** Now and then only. */
  held?: HeldFigures | undefined;
}

/** Everything that was seen of one process. */
export class ProcessRecord {
  readonly name: string;
  readonly looks: Look[] = [];
  readonly #program: Program;

  constructor(program: Program) {
    this.name = program.name;
    this.#program = program;
  }

  /** @throws if the process is gone */
  async look(minutes: number, { inside, held }: { inside: boolean; held: boolean }): Promise<Look> {
    // The outside first: a collection gives pages back.
    const outside = await outsideFigures(this.#program.pid).catch((cause: unknown) => {
      throw new Error(`the ${this.name} is gone`, { cause });
    });
    const look: Look = { minutes, ...outside };
    if (inside) look.inside = await this.#program.look();
    if (held) look.held = await this.#program.count();
    this.looks.push(look);
    return look;
  }

  get peak(): number {
    return Math.max(...this.looks.map(({ peak }) => peak));
  }

  /** The share of its time in which it was ready to run, and others had the processors. */
  get queued(): number {
    const [first, last] = [this.looks[0], this.looks.at(-1)];
    if (!first || !last || first === last) return 0;
    return (last.queuedMs - first.queuedMs) / ((last.minutes - first.minutes) * 60_000);
  }

  /** Those of calm times, when the inside was looked at too. */
  samples(figure: Figure): Sample[] {
    return this.looks.flatMap(({ minutes, inside, held, ...outside }) => {
      const value = inside && { ...outside, ...inside, ...held }[figure];
      return value === undefined ? [] : [{ minutes, value }];
    });
  }
}
