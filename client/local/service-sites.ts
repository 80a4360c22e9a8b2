import type { DialOptions } from "./dial-target.ts";
import { IdleConnections } from "./idle-connections.ts";
import type { ServiceTls } from "./service-tls.ts";

/** Visitors choose the names, so there is a bound; the site that was asked for least lately gives way. */
const MAX_SITES = 32;
/** Idle connections per site; low, so that all sites together keep few descriptors. */
const MAX_IDLE = 16;

/** One site of a service: how it is dialled, and its connections that lie idle. */
export interface ServiceSite {
  readonly options: DialOptions;
  readonly idle: IdleConnections;
}

/**
 * The sites of a service that is asked for each visitor's own name. A TLS service chooses certificate and site by that name as
 * the connection begins, so each site has connections of its own.
 */
export class ServiceSites {
  readonly #options: DialOptions;
  readonly #tls: ServiceTls;
  /** By name; the one used last comes last. */
  readonly #sites = new Map<string, ServiceSite>();
  #closed = false;

  constructor(options: DialOptions, tls: ServiceTls) {
    this.#options = options;
    this.#tls = tls;
  }

  get idle(): number {
    let count = 0;
    for (const { idle } of this.#sites.values()) count += idle.size;
    return count;
  }

  /** @param host of a request, as it stands in its Host field */
  of(host: string): ServiceSite {
    const name = this.#tls.nameOf(host);
    const site = this.#sites.get(name) ?? this.#open(name);
    this.#sites.delete(name);
    this.#sites.set(name, site);
    return site;
  }

  close(): void {
    this.#closed = true;
    for (const { idle } of this.#sites.values()) idle.close();
  }

  #open(name: string): ServiceSite {
    const options = { ...this.#options, tls: this.#tls.named(name) };
    const site = { options, idle: new IdleConnections(MAX_IDLE) };
    if (this.#closed) site.idle.close();
    const [oldest] = this.#sites;
    if (oldest && this.#sites.size >= MAX_SITES) {
      oldest[1].idle.close();
      this.#sites.delete(oldest[0]);
    }
    return site;
  }
}
