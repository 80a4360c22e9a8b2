/** Which servers are reached without a proxy. */
import { isIP } from "node:net";
import { AddressRanges, isAddressRange } from "../runtime/address-ranges.ts";
import { plainAddress } from "../runtime/ip-address.ts";
import type { NetAddress } from "../runtime/net-address.ts";

const THIS_MACHINE = new AddressRanges(["127.0.0.0/8", "::1", "0.0.0.0", "::"]);

/**
 * Whether a host is this machine by its name or address, which would be another machine to a proxy. An address with a zone
 * counts too: zones mean something on one machine only.
 */
export function isLocalHost(host: string): boolean {
  const plain = plainHost(host);
  return (
    host.includes("%") || plain === "localhost" || plain.endsWith(".localhost") || THIS_MACHINE.has(plain)
  );
}

/**
 * Whether `NO_PROXY` names this server, as curl and Go read it: entries with commas or spaces between them, each `*` for everything, a domain,
 * which stands for all names beneath it too, with a dot in front or without, an address, or a range such as `10.0.0.0/8`;
 * behind any of them `:PORT`. Names are compared as they are, and not looked up.
 */
export function isExempt({ host, port }: NetAddress, noProxy: string): boolean {
  const plain = plainHost(host);
  return noProxy.split(/[\s,]+/).some((entry) => {
    const { subject, onPort } = splitPort(entry);
    if (subject === "" || (onPort !== undefined && onPort !== port)) return false;
    if (subject === "*") return true;
    return isIP(plain) === 0 ? isBeneath(plain, subject) : isWithin(plain, subject);
  });
}

function isBeneath(name: string, domain: string): boolean {
  const plain = plainHost(domain.replace(/^\*?\./, ""));
  return name === plain || name.endsWith(`.${plain}`);
}

function isWithin(address: string, range: string): boolean {
  const plain = plainAddress(range) ?? range;
  return isAddressRange(plain) && new AddressRanges([plain]).has(address);
}

function splitPort(entry: string): { subject: string; onPort?: number } {
  // More than one colon, and no brackets: an IPv6 address without a port.
  const [, bracketed, bare, digits] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(entry) ?? [];
  const subject = bracketed ?? bare ?? entry;
  return digits === undefined ? { subject } : { subject, onPort: Number(digits) };
}

/** A name or an address in its one spelling; `127.1` is 127.0.0.1, as it is to the system. */
function plainHost(host: string): string {
  const plain = plainAddress(host);
  if (plain !== undefined) return plain;
  const url = `http://${host}/`;
  return (URL.canParse(url) ? new URL(url).hostname : host.toLowerCase()).replace(/\.$/, "");
}
