import { EldestOfLargest, type Member } from "./eldest-of-largest.ts";
import { Tally } from "./tally.ts";

/** What one party may have of all descriptors. */
export interface DescriptorShare {
  /** The part that is kept for it whatever the others do; those of all parties make 1 at most. */
  guaranteed: number;
  /** Even where more are free. */
  most?: number;
}

/**
 * So many times what it leaves free an owner may hold: three quarters where it is alone, and where nine want as much as they
 * can get, a part in 28 stays free for those who hold little.
 */
const TIMES_FREE = 3;

/** Told whenever somebody got none, or only since another was closed. */
type OnShort<Name> = (name: Name, owner: string | undefined) => void;

/**
 * Divides the descriptors of a process among parties. What is kept for none of them, any may have; each takes back from those
 * that are named before it what they have beyond their share and can spare.
 */
export function divideDescriptors<Name extends string>(options: {
  descriptors: number;
  shares: Record<Name, DescriptorShare>;
  onShort: OnShort<Name>;
}): Record<Name, DescriptorParty> {
  const { descriptors, onShort } = options;
  const all: Party[] = [];
  const views: Partial<Record<Name, DescriptorParty>> = {};
  for (const [name, { guaranteed, most = Infinity }] of Object.entries<DescriptorShare>(options.shares)) {
    const party: Party = {
      all,
      descriptors,
      guaranteed: Math.floor(descriptors * guaranteed),
      most,
      owners: new Tally(),
      spare: new EldestOfLargest(),
      spareLast: new EldestOfLargest(),
      onShort: (owner) => onShort(name as Name, owner),
    };
    all.push(party);
    views[name as Name] = new DescriptorParty(party);
  }
  return views as Record<Name, DescriptorParty>;
}

/** Who shares descriptors under one name. */
export class DescriptorParty {
  readonly #party: Party;

  constructor(party: Party) {
    this.#party = party;
  }

  get held(): number {
    return heldBy(this.#party);
  }

  /** How many more it may have; those that others would have to give back are among them. */
  get left(): number {
    return leftFor(this.#party);
  }

  /**
   * Takes one, even if another has to be closed for it. Undefined: nobody can spare any, or its owner has more than its fair part.
   *
   * @param owner one of many that share what the party has, such as an address; undefined: whoever may have all of it
   */
  take(owner?: string): Descriptor | undefined {
    return makeRoom(this.#party, owner) ? new Descriptor(this.#party, owner) : undefined;
  }

  /** Takes over one of another party. `false`: there is no room for it here, and it stays where it was. */
  adopt(descriptor: Descriptor): boolean {
    return descriptor.moveTo(this.#party);
  }

  /** Closes one that can be spared: the eldest of the owner who has most of these. */
  closeSpare(): boolean {
    return closeSpare(this.#party, undefined);
  }
}

/** One that is taken, from the system and from its party's part. */
export class Descriptor {
  readonly #owner: string | undefined;
  #party: Party | undefined;
  #spare: Member<Spare> | undefined;

  constructor(party: Party, owner: string | undefined) {
    this.#owner = owner;
    this.#party = party;
    party.owners.add(owner ?? NOBODY);
  }

  /**
   * It may be closed for another one, until it is `needed`.
   *
   * @param close gives it back to the system before it returns
   */
  spare(close: () => void): void {
    if (!this.#party || this.#spare) return;
    this.#spare = this.#spares(this.#party).add(this.#owner ?? NOBODY, { descriptor: this, close });
  }

  needed(): void {
    if (this.#party && this.#spare) this.#spares(this.#party).remove(this.#spare);
    this.#spare = undefined;
  }

  /** It is closed; may be said more than once. */
  release(): void {
    this.needed();
    this.#party?.owners.remove(this.#owner ?? NOBODY);
    this.#party = undefined;
  }

  moveTo(party: Party): boolean {
    const from = this.#party;
    if (!from || from === party) return from !== undefined;
    const close = this.#spare?.value.close;
    this.release();
    const moved = makeRoom(party, this.#owner);
    this.#party = moved ? party : from;
    this.#party.owners.add(this.#owner ?? NOBODY);
    if (!moved && close) this.spare(close);
    return moved;
  }

  #spares(party: Party): EldestOfLargest<Spare> {
    return this.#owner === undefined ? party.spareLast : party.spare;
  }
}

/** Whoever may have all of its party's is nobody in particular. */
const NOBODY = "";

/** One that can be spared. */
interface Spare {
  descriptor: Descriptor;
  close: () => void;
}

interface Party {
  /** Itself, and all the others. */
  readonly all: readonly Party[];
  /** Of all parties. */
  readonly descriptors: number;
  readonly guaranteed: number;
  readonly most: number;
  readonly owners: Tally;
  readonly spare: EldestOfLargest<Spare>;
  /** Those without an owner go after all others. */
  readonly spareLast: EldestOfLargest<Spare>;
  readonly onShort: (owner: string | undefined) => void;
}

/** Sees to it that there is room for one more of this owner's. */
function makeRoom(party: Party, owner: string | undefined): boolean {
  if (mayHave(party, owner, leftFor(party))) {
    if (freeFor(party) >= 1) return true;
    party.onShort(owner);
    return closeBorrowed(party);
  }
  party.onShort(owner);
  // Who has too much already makes room by itself.
  const isGreedy = !mayHave(party, owner, leftFor(party) + 1);
  return closeSpare(party, isGreedy ? owner : undefined);
}

function mayHave({ owners }: Party, owner: string | undefined, left: number): boolean {
  return left >= 1 && (owner === undefined || owners.of(owner) < TIMES_FREE * left);
}

function heldBy({ owners }: Party): number {
  return owners.total;
}

/** What the party may still take without anyone's giving back. */
function freeFor(party: Party): number {
  let free = party.descriptors;
  for (const each of party.all) free -= each === party ? heldBy(each) : Math.max(heldBy(each), each.guaranteed);
  return free;
}

function leftFor(party: Party): number {
  let left = freeFor(party);
  for (const other of party.all) {
    if (other === party) break;
    left += borrowedBy(other);
  }
  return Math.min(left, party.most - heldBy(party));
}

/** What can be had back. */
function borrowedBy(party: Party): number {
  const { guaranteed, spare, spareLast } = party;
  return Math.min(spare.size + spareLast.size, Math.max(0, heldBy(party) - guaranteed));
}

function closeBorrowed(party: Party): boolean {
  for (const other of party.all) {
    if (other === party) break;
    if (borrowedBy(other) > 0) return closeSpare(other, undefined);
  }
  return false;
}

function closeSpare({ spare, spareLast }: Party, owner: string | undefined): boolean {
  const eldest = spare.eldest(owner) ?? (owner === undefined ? spareLast.eldest() : undefined);
  eldest?.close();
  eldest?.descriptor.release();
  return eldest !== undefined;
}
