import type { Log } from "../../runtime/log.ts";
import type { Remembered, ReservationStore } from "./reservations.ts";

/** How often at most. A server that is killed loses what has changed since. */
const EACH_MS = 10_000;
/** The first change is seldom the last. */
const SOON_MS = 1_000;

/** Saves what a server that starts in place of this one has to know: soon after it has changed, but seldom, and at the end. */
export class ReservationSaver {
  readonly #store: ReservationStore;
  readonly #remembered: () => Remembered;
  readonly #log: Pick<Log, "info" | "warn">;
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> | undefined;
  #savedAt = -Infinity;
  #isRunning = false;
  #isChanged = false;
  #isFailing = false;

  constructor(options: {
    store: ReservationStore;
    /** What to save. It may turn out to have changed, and say so by `changed`. */
    remembered: () => Remembered;
    log: Pick<Log, "info" | "warn">;
  }) {
    this.#store = options.store;
    this.#remembered = options.remembered;
    this.#log = options.log;
  }

  start(): void {
    this.#isRunning = true;
    this.#wait(this.#isChanged ? SOON_MS : EACH_MS);
  }

  changed(): void {
    if (this.#isChanged) return;
    this.#isChanged = true;
    const isQuiet = this.#isRunning && !this.#saving && performance.now() - this.#savedAt >= EACH_MS;
    if (isQuiet) this.#wait(SOON_MS);
  }

  /** Saves a last time. */
  async end(): Promise<void> {
    this.#isRunning = false;
    clearTimeout(this.#timer);
    await this.#saving;
    await this.#look();
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#look(), ms).unref();
  }

  async #look(): Promise<void> {
    const remembered = this.#remembered();
    if (this.#isChanged) {
      this.#saving = this.#save(remembered);
      await this.#saving;
      this.#saving = undefined;
    }
    if (this.#isRunning) this.#wait(EACH_MS);
  }

  async #save(remembered: Remembered): Promise<void> {
    this.#isChanged = false;
    try {
      await this.#store.save(remembered);
      if (this.#isFailing) this.#log.info({}, "reservations can be saved again");
      this.#isFailing = false;
    } catch (error) {
      this.#isChanged = true;
      if (!this.#isFailing)
        this.#log.warn({ error }, "reservations cannot be saved: a restart would not keep the newest names");
      this.#isFailing = true;
    }
    this.#savedAt = performance.now();
  }
}
