import type { Claim } from "./claim.ts";

interface OfKey {
  /** In the order in which their clients left. */
  claims: Set<Claim>;
  names: number;
}

/** The claims of clients that have left. */
export class KeptClaims {
  readonly #keys = new Map<string, OfKey>();

  /** For each key, whoever left first. */
  *byKey(): Generator<Iterable<Claim>> {
    for (const { claims } of this.#keys.values()) yield claims;
  }

  ofKey(keyId: string): Iterable<Claim> {
    return this.#keys.get(keyId)?.claims ?? [];
  }

  /** How many names are kept for a key. */
  namesOfKey(keyId: string): number {
    return this.#keys.get(keyId)?.names ?? 0;
  }

  add(claim: Claim): void {
    let ofKey = this.#keys.get(claim.keyId);
    if (!ofKey) this.#keys.set(claim.keyId, (ofKey = { claims: new Set(), names: 0 }));
    ofKey.claims.add(claim);
    ofKey.names += claim.names;
  }

  /** So many of the claim's names are somebody else's now. */
  lose(claim: Claim, names: number): void {
    claim.names -= names;
    this.#keys.get(claim.keyId)!.names -= names;
    if (claim.names === 0) this.delete(claim);
  }

  delete(claim: Claim): void {
    const ofKey = this.#keys.get(claim.keyId);
    if (!ofKey?.claims.delete(claim)) return;
    ofKey.names -= claim.names;
    if (ofKey.claims.size === 0) this.#keys.delete(claim.keyId);
  }
}
