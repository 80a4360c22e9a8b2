import type { RawFields } from "../../../link/http-head.ts";
import { AddressRanges } from "../../../runtime/address-ranges.ts";
import { plainAddress } from "../../../runtime/ip-address.ts";
import { splitHostPort } from "../../routing/hostname.ts";
import { peerOf, type Peer } from "./forwarding.ts";

/**
 * Addresses that are looked at, from the last on. A request passes a handful of proxies (CDN, balancer, ingress, sidecar); a list
 * of thousands was made up by a visitor, and each address in it costs microseconds.
 */
const MAX_HOPS = 32;
const PORT = /^[1-9][0-9]{0,4}$/;
/** A path, which nobody can take for another host's: services begin their links with it. */
const PATH = /^\/(?![/\\])[\x21-\x7e]*$/;

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
   * may have made up, as what lies beyond the last 32. Forwarded is not read: what sets the one field passes on what a visitor wrote into the other.
   *
   * @param proxy the trusted one, at the connection's other end
   */
  visitorBehind(proxy: Peer, rawFields: RawFields): Peer {
    let address = proxy.address;
    let hops = 0;
    for (const element of fromTheEnd(rawFields, "x-forwarded-for")) {
      if (++hops > MAX_HOPS) break;
      if (element === "") continue;
      const hop = addressOf(element);
      if (hop === undefined) break;
      address = hop;
      if (!this.trusts(hop)) break;
    }
    const host = lastElement(rawFields, "x-forwarded-host");
    const scheme = lastElement(rawFields, "x-forwarded-proto")?.toLowerCase();
    const port = lastElement(rawFields, "x-forwarded-port");
    const prefix = lastElement(rawFields, "x-forwarded-prefix");
    return {
      ...peerOf(address),
      scheme: scheme === "https" || scheme === "wss" ? "https" : "http",
      ...(host !== undefined && splitHostPort(host) && { host }),
      ...(port !== undefined && PORT.test(port) && { port }),
      ...(prefix !== undefined && PATH.test(prefix) && { prefix }),
    };
  }
}

function lastElement(fields: RawFields, name: string): string | undefined {
  for (const element of fromTheEnd(fields, name)) if (element !== "") return element;
  return undefined;
}

/** The members of a comma-separated list, over all fields of this name, the last one first; empty ones too. */
function* fromTheEnd(fields: RawFields, name: string): Generator<string> {
  for (let i = fields.length - 2; i >= 0; i -= 2) {
    if (fields[i]!.toLowerCase() !== name) continue;
    const value = fields[i + 1]!;
    let end = value.length;
    while (end >= 0) {
      const comma = end === 0 ? -1 : value.lastIndexOf(",", end - 1);
      yield value.slice(comma + 1, end).trim();
      end = comma;
    }
  }
}

/** Some proxies write the port too: `203.0.113.7:4711`, `[2001:db8::1]:4711`. */
function addressOf(hop: string): string | undefined {
  const [, bracketed, ipv4] = /^(?:\[([^\]]+)\](?::\d+)?|([\d.]+):\d+)$/.exec(hop) ?? [];
  return plainAddress(bracketed ?? ipv4 ?? hop);
}
