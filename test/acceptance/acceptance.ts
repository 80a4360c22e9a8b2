import { test as base } from "vitest";
import { Tunnel, type TunnelOptions } from "./tunnel.ts";

/** The processes of a file's cases; new ones behind a case that hurt them. */
class Pair {
  readonly #options: TunnelOptions;
  #tunnel: Tunnel | undefined;

  constructor(options: TunnelOptions) {
    this.#options = options;
  }

  async take(): Promise<Tunnel> {
    this.#tunnel ??= await Tunnel.start(this.#options);
    this.#tunnel.begin();
    return this.#tunnel;
  }

  /** @throws what is charged to the case */
  async giveBack(): Promise<void> {
    const tunnel = this.#tunnel!;
    const charges = await tunnel.charges();
    if (charges.length === 0 && !tunnel.replaced) return;
    const { lastWords } = tunnel;
    await this.end();
    if (charges.length > 0) throw new Error(`charged to this case:\n${charges.join("\n")}\n\n${lastWords}`);
  }

  async end(): Promise<void> {
    const tunnel = this.#tunnel;
    this.#tunnel = undefined;
    await tunnel?.[Symbol.asyncDispose]();
  }
}

/** Cases of processes that are started otherwise. */
export function acceptanceWith(options: TunnelOptions) {
  return base.extend<{ pair: Pair; tunnel: Tunnel }>({
    pair: [
      // oxlint-disable-next-line no-empty-pattern -- what vitest reads the dependencies from
      async ({}, use) => {
        const pair = new Pair(options);
        await use(pair);
        await pair.end();
      },
      { scope: "file" },
    ],
    tunnel: async ({ pair }, use) => {
      await use(await pair.take());
      await pair.giveBack();
    },
  });
}

/** A case: `acceptance("a sentence", async ({ tunnel }) => { … })`. */
export const acceptance = acceptanceWith({});

/** Whether cases that take long are run too. */
export const WHOLE = process.env["ACCEPTANCE"] === "whole";

/** A case that takes long, and is skipped in the quick form. */
export const whole = acceptance.runIf(WHOLE);
