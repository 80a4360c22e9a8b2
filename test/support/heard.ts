import type { Control } from "../../link/messages.ts";

export interface HeardChunk {
  stream: number;
  flags: number;
  payload: Buffer;
}

/** What an end that is played by hand has heard, to be looked at and waited for. */
export class Heard {
  readonly controls: Control[] = [];
  readonly chunks: HeardChunk[] = [];
  readonly #waiting = new Set<() => void>();

  control(control: Control): void {
    this.controls.push(control);
    for (const look of this.#waiting) look();
  }

  chunk(chunk: HeardChunk): void {
    this.chunks.push(chunk);
    for (const look of this.#waiting) look();
  }

  /** Resolves at the `count`th message of a kind, past or future. */
  message<K extends Control["message"]>(kind: K, count = 1): Promise<Extract<Control, { message: K }>> {
    return this.#until(() => this.all(kind)[count - 1]);
  }

  /** Resolves at the `count`th chunk, past or future. */
  chunkNumber(count: number): Promise<HeardChunk> {
    return this.#until(() => this.chunks[count - 1]);
  }

  all<K extends Control["message"]>(kind: K): Extract<Control, { message: K }>[] {
    return this.controls.filter(
      (control): control is Extract<Control, { message: K }> => control.message === kind,
    );
  }

  #until<T>(find: () => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      const look = (): void => {
        const found = find();
        if (found === undefined) return;
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      look();
    });
  }
}
