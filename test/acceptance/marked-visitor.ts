import type { Socket } from "node:net";
import { dialRaw, RawVisitor } from "../support/raw-visitor.ts";

/** Every request that a case sends says so in this field: one that reaches the local service without it was smuggled. */
export const MARK = "X-Case-Mark";

/** The marks of one case. */
export class Marks {
  readonly #case: string;
  #count = 0;

  /** @param name of the case, in field characters */
  constructor(name: string) {
    this.#case = name;
  }

  next(): string {
    return `${this.#case}.${++this.#count}`;
  }

  owns(mark: string): boolean {
    return mark.startsWith(`${this.#case}.`);
  }
}

/** A raw visitor whose requests are marked. `send` sends bytes as they are: bodies, and what is not to arrive. */
export class MarkedVisitor extends RawVisitor {
  readonly #marks: Marks;

  private constructor(socket: Socket, marks: Marks) {
    super(socket);
    this.#marks = marks;
  }

  static async visit(address: { host: string; port: number }, marks: Marks): Promise<MarkedVisitor> {
    return new MarkedVisitor(await dialRaw(address.port, address.host), marks);
  }

  /** Sends requests, each text one of them with what belongs to it, and marks each behind its request line. */
  request(...requests: string[]): this {
    for (const request of requests) {
      const marked = request.replace(/^((?:\r\n)*[^\r\n]+\r\n)/, `$1${MARK}: ${this.#marks.next()}\r\n`);
      if (marked === request) throw new Error("no request line to mark");
      this.send(marked);
    }
    return this;
  }
}
