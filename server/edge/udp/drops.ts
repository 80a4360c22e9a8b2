/** Why a datagram went no further. */
export type DropReason =
  /** The port belongs to no tunnel. */
  | "noTunnel"
  /** The tunnel's client is away: what comes late is of no use, so that nothing is held for it. */
  | "offline"
  /** Of a new visitor: there are as many as there may be, of the tunnel or of the address. */
  | "tooMany"
  /** Of a new visitor: the client serves as many as it may. */
  | "overloaded"
  /** Beyond the tunnel's bandwidth. */
  | "bandwidth"
  /** Too much waits on the way to the client. */
  | "full"
  /** The system does not send it to the visitor, or not yet those before it. */
  | "unsent"
  /** Larger than IPv4 has them. */
  | "tooLarge"
  /** It names no port to answer to: nobody sends such but to harm. */
  | "noPort";

/** How many were dropped for which reason. */
export class Drops {
  #counts: Partial<Record<DropReason, number>> | undefined;

  add(reason: DropReason): void {
    this.#counts ??= {};
    this.#counts[reason] = (this.#counts[reason] ?? 0) + 1;
  }

  /** What has been counted since the last time; undefined if there was nothing. */
  take(): Partial<Record<DropReason, number>> | undefined {
    const counts = this.#counts;
    this.#counts = undefined;
    return counts;
  }
}
