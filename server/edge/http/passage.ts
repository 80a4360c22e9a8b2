import type { Route } from "../../routing/route.ts";
import { Hold } from "../hold.ts";
import type { OpenRequests } from "./open-requests.ts";
import { NO_TUNNEL, OFFLINE, type Refusal } from "./refusals.ts";

/** What every passage uses of the edge. */
export interface PassageContext {
  /** By normalised hostname. */
  findRoute: (hostname: string) => Route | undefined;
  readonly requests: OpenRequests;
  /** How long to wait for a client that may come back. */
  readonly holdMs: number;
}

/** Who is on the way. */
export interface Traveller {
  /** The way is free; at once, or when the client is back. */
  wayFree(route: Route, open: NonNullable<Route["open"]>): void;
  /** The client is away and may come back: for now nothing goes on. */
  held(): void;
  /** There is no way for it. */
  refuse(refusal: Refusal): void;
}

/** A request's way to its tunnel: the route, the count of those that are open, the wait for a client that is coming back. */
export class Passage {
  /** Once it is known. */
  route: Route | undefined;
  readonly #context: PassageContext;
  readonly #hostname: string;
  readonly #network: string;
  readonly #traveller: Traveller;
  /** When waiting ends, once it has begun. */
  #until: number | undefined;
  #counted = false;
  #hold: Hold | undefined;

  constructor(options: {
    context: PassageContext;
    /** Where the request is to go: the Host as it has been normalised. */
    hostname: string;
    /** Whose it is (runtime/ip-address.ts). */
    network: string;
    traveller: Traveller;
  }) {
    this.#context = options.context;
    this.#hostname = options.hostname;
    this.#network = options.network;
    this.#traveller = options.traveller;
  }

  /** Tells the traveller that the way is free, or that it is refused, now or later, unless `end` comes before. */
  start(): void {
    const traveller = this.#traveller;
    const route = this.#context.findRoute(this.#hostname);
    this.route ??= route;
    if (!route) return traveller.refuse(NO_TUNNEL);
    const tooMany = this.#count(route);
    if (tooMany) return traveller.refuse(tooMany);
    if (route.open) traveller.wayFree(route, route.open);
    else this.#waitFor(route);
  }

  /** Waits no longer. */
  giveUp(): void {
    this.#hold?.end();
  }

  /** The request is over, and makes room for another. */
  end(): void {
    this.giveUp();
    if (this.#counted) this.#context.requests.close(this.route!, this.#network);
    this.#counted = false;
  }

  #count(route: Route): Refusal | undefined {
    if (this.#counted) return undefined;
    const refusal = this.#context.requests.open(route, this.#network);
    this.#counted = refusal === undefined;
    return refusal;
  }

  #waitFor({ whenBack }: Route): void {
    const traveller = this.#traveller;
    const now = performance.now();
    this.#until ??= now + this.#context.holdMs;
    const ms = this.#until - now;
    if (!whenBack || ms <= 0) return traveller.refuse(OFFLINE);
    traveller.held();
    this.#hold = new Hold({
      whenBack,
      ms,
      back: () => this.start(),
      tooLong: () => traveller.refuse(OFFLINE),
    });
  }
}
