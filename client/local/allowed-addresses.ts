import { type LookupAddress, lookup as systemLookup } from "node:dns";
import { isIP } from "node:net";
import type { TcpTarget } from "../../link/target.ts";
import type { Resolve } from "../../runtime/name-lookup.ts";
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
  if (isIP(host) !== 0) process.nextTick(answer, null, [{ address: host, family: isIP(host) }]);
  else if (/(^|\.)localhost\.?$/i.test(host)) process.nextTick(answer, null, LOOPBACK);
  else resolve(host, { all: true }, answer);
}
