/** Things that end together, the last first. */
export class Owned implements AsyncDisposable {
  readonly #parts: AsyncDisposable[] = [];

  own<T extends AsyncDisposable>(part: T): T {
    this.#parts.push(part);
    return part;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of this.#parts.splice(0).toReversed()) await part[Symbol.asyncDispose]();
  }
}
