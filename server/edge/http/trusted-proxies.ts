import type { RawFields } from "../../../link/http-head.ts";
import { AddressRanges } from "../../../runtime/address-ranges.ts";
import { plainAddress } from "../../../runtime/ip-address.ts";
import { splitHostPort } from "../../routing/hostname.ts";
import { peerOf, type Peer } from "./forwarding.ts";

/** What stands in front of the server, and is believed when it says who asks. */
export class TrustedProxies {
  readonly #ranges: AddressRanges;

  /** @param ranges addresses and ranges */
  constructor(ranges: readonly string[]) {
    this.#ranges = new AddressRanges(ranges);
  }

  /** @param address of a connection's other end, in its plain spelling */
  trusts(address: string): boolean {
    return this.#ranges.has(address);
  }

  /**
   * Who asked the first of the trusted. Each proxy adds the address of its own visitor at the end of X-Forwarded-For: read from
   * there, everything up to the first address that is not trusted was written by somebody trusted; what lies before it anybody
   * may have made up. Forwarded is not read: what sets the one field passes on what a visitor wrote into the other.
   *
   * @param proxy the trusted one, at the connection's other end
   */
  visitorBehind(proxy: Peer, rawFields: RawFields): Peer {
    const hops = elements(rawFields, "x-forwarded-for");
    let address = proxy.address;
    for (let i = hops.length - 1; i >= 0; i--) {
      const hop = addressOf(hops[i]!);
      if (hop === undefined) break;
      address = hop;
      if (!this.trusts(hop)) break;
    }
    const host = elements(rawFields, "x-forwarded-host").at(-1);
    const scheme = elements(rawFields, "x-forwarded-proto").at(-1)?.toLowerCase();
    return {
      ...peerOf(address),
      scheme: scheme === "https" || scheme === "wss" ? "https" : "http",
      ...(host !== undefined && splitHostPort(host) && { host }),
    };
  }
}

/** The members of a comma-separated list, over all fields of this name. */
function elements(fields: RawFields, name: string): string[] {
  const found: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i]!.toLowerCase() !== name) continue;
    for (const element of fields[i + 1]!.split(",")) {
      if (element.trim() !== "") found.push(element.trim());
    }
  }
  return found;
}

/** Some proxies write the port too: `203.0.113.7:4711`, `[2001:db8::1]:4711`. */
function addressOf(hop: string): string | undefined {
  const [, bracketed, ipv4] = /^(?:\[([^\]]+)\](?::\d+)?|([\d.]+):\d+)$/.exec(hop) ?? [];
  return plainAddress(bracketed ?? ipv4 ?? hop);
}
