import type { Readable } from "node:stream";

/** A request's body on its way to the stream, at the stream's pace. */
export class Upload {
  /** `flowing` → `done` when all of it has come; `dropped` when nobody wants the rest. */
  state: "flowing" | "dropped" | "done" = "flowing";
  /** Octets that have come. */
  bytes = 0;
  readonly #body: Readable;

  constructor(options: {
    body: Readable;
    /** Takes a piece; `false`: no more until `resume`. */
    take: (chunk: Buffer) => boolean;
    /** Whether enough has been dropped, and reading should stop. */
    droppedEnough: () => boolean;
    /** The body has come whole. */
    ended: () => void;
  }) {
    this.#body = options.body;
    this.#body.on("data", (chunk: Buffer) => {
      this.bytes += chunk.length;
      const goOn = this.state === "flowing" ? options.take(chunk) : !options.droppedEnough();
      if (!goOn) this.#body.pause();
    });
    this.#body.on("end", () => {
      this.state = "done";
      options.ended();
    });
  }

  /** Nothing comes until `resume`. */
  pause(): void {
    this.#body.pause();
  }

  resume(): void {
    if (this.state === "flowing") this.#body.resume();
  }

  /** From now on what comes is read and forgotten. */
  drop(): void {
    if (this.state !== "flowing") return;
    this.state = "dropped";
    this.#body.resume();
  }
}
