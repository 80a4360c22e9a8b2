import type { Route } from "../../routing/route.ts";
import { Hold } from "./hold.ts";
import type { OpenRequests } from "./open-requests.ts";
import { NO_TUNNEL, OFFLINE, type Refusal } from "./refusals.ts";

export interface PassageOptions {
  /** Where the request is to go: the Host as it has been normalised. */
  hostname: string;
  /** Whose it is (runtime/ip-address.ts). */
  network: string;
  findRoute: (hostname: string) => Route | undefined;
  requests: OpenRequests;
  /** How long to wait for a client that may come back. */
  holdMs: number;
  /** The way is free; called at once, or when the client is back. */
  open: (route: Route, open: NonNullable<Route["open"]>) => void;
  /** The client is away and may come back: for now nothing goes on. */
  held: () => void;
  refuse: (refusal: Refusal) => void;
}

/** A request's way to its tunnel: the route, the count of those that are open, the wait for a client that is coming back. */
export class Passage {
  /** Once it is known. */
  route: Route | undefined;
  readonly #options: PassageOptions;
  readonly #until: number;
  #counted = false;
  #hold: Hold | undefined;

  constructor(options: PassageOptions) {
    this.#options = options;
    this.#until = performance.now() + options.holdMs;
  }

  /** Calls `open` or `refuse`, now or later, unless `end` comes before. */
  start(): void {
    const { hostname, findRoute, open, refuse } = this.#options;
    const route = findRoute(hostname);
    this.route ??= route;
    if (!route) return refuse(NO_TUNNEL);
    const tooMany = this.#count(route);
    if (tooMany) return refuse(tooMany);
    if (route.open) open(route, route.open);
    else this.#waitFor(route);
  }

  /** Waits no longer. */
  giveUp(): void {
    this.#hold?.end();
  }

  /** The request is over, and makes room for another. */
  end(): void {
    this.giveUp();
    if (this.#counted) this.#options.requests.close(this.route!, this.#options.network);
    this.#counted = false;
  }

  #count(route: Route): Refusal | undefined {
    if (this.#counted) return undefined;
    const refusal = this.#options.requests.open(route, this.#options.network);
    this.#counted = refusal === undefined;
    return refusal;
  }

  #waitFor({ whenBack }: Route): void {
    const { held, refuse } = this.#options;
    const ms = this.#until - performance.now();
    if (!whenBack || ms <= 0) return refuse(OFFLINE);
    held();
    this.#hold = new Hold({ whenBack, ms, back: () => this.start(), tooLong: () => refuse(OFFLINE) });
  }
}
