import { type LookupAddress, lookup as systemLookup } from "node:dns";
import { isIP } from "node:net";
import type { TcpTarget } from "../../link/target.ts";
import type { Resolve } from "../../runtime/name-lookup.ts";
import { plainAddress } from "../../runtime/ip-address.ts";
import { type Consent, dialledAddress } from "./consent.ts";
import { notAllowed } from "./dial-failure.ts";

/**
 * RFC 6761 section 6.3: these names mean loopback, whatever a resolver says. Most services listen on 127.0.0.1, and some, as Vite, on
 * ::1 alone.
 */
const LOOPBACK: LookupAddress[] = [
  { address: "127.0.0.1", family: 4 },
  { address: "::1", family: 6 },
];

/**
 * Those addresses of a target that the consent allows, as the kernel dials them: at least one, or an error (see `dialFailure`).
 * Calls back in a later turn. A name is resolved once, here.
 */
export function allowedAddresses(
  {
    target,
    consent,
    resolve = systemLookup,
  }: { target: TcpTarget; consent: Consent; resolve?: Resolve | undefined },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
): void {
  const { host, port } = target;
  const answer = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]): void => {
    if (error) return callback(error, []);
    const allowed = addresses.filter(({ address }) => consent.allows(address, port, host));
    if (allowed.length === 0) {
      const refused = notAllowed(
        target,
        addresses.map(({ address }) => address),
      );
      return callback(refused, []);
    }
    const dialled = allowed.map(({ address }) => {
      const plain = dialledAddress(address);
      return { address: plain, family: isIP(plain) };
    });
    callback(null, dialled);
  };
  if (!consent.mayAllow(host, port)) return process.nextTick(callback, notAllowed(target, [host]), []);
  const known = knownAddresses(host);
  if (known) process.nextTick(answer, null, known);
  else resolve(host, { all: true }, answer);
}

/** Those of the addresses that `allowedAddresses` gives which are this machine's, as far as that shows without a lookup. */
export function allowedLoopback({ host, port }: TcpTarget, consent: Consent): string[] {
  return (knownAddresses(host) ?? [])
    .filter(({ address }) => consent.allows(address, port, host))
    .map(({ address }) => plainAddress(dialledAddress(address)) ?? "")
    .filter((address) => address === "::1" || address.startsWith("127."));
}

/** Undefined for a name that has to be looked up. */
function knownAddresses(host: string): LookupAddress[] | undefined {
  if (isIP(host) !== 0) return [{ address: host, family: isIP(host) }];
  return /(^|\.)localhost\.?$/i.test(host) ? LOOPBACK : undefined;
}
