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
 * The last quarter of what is kept for a party is for owners that hold few, the fewer the less is left: a browser opens six. It takes
 * 86 of them to use up a thousand, and as many more for each thousand more.
 */
const LAST = 1 / 4;
const FEW = 8;
/** An owner may borrow from the pool while it holds less than this many times what it leaves. */
const TIMES_LEFT = 3;

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
  const shares = Object.entries<DescriptorShare>(options.shares);
  const kept = shares.map(([, { guaranteed }]) => Math.floor(descriptors * guaranteed));
  const pool = new Pool(descriptors - kept.reduce((sum, each) => sum + each, 0));
  const views: Partial<Record<Name, DescriptorParty>> = {};
  for (const [i, [name, { most = Infinity }]] of shares.entries()) {
    const party = new Party({ pool, kept: kept[i]!, most, onShort: (owner) => onShort(name as Name, owner) });
    pool.parties.push(party);
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
    return this.#party.held;
  }

  /** How many more it may have; those that others would have to give back are among them. */
  get left(): number {
    return this.#party.left;
  }

  /**
   * Takes one, even if another has to be closed for it. Undefined: nobody can spare any, or its owner has more than its fair part.
   *
   * @param owner one of many that share what the party has, such as an address; undefined: whoever may have all of it
   */
  take(owner?: string): Descriptor | undefined {
    const source = this.#party.makeRoom(owner);
    return source && new Descriptor(this.#party, owner, source);
  }

  /** Takes over one of another party. `false`: there is no room for it here, and it stays where it was. */
  adopt(descriptor: Descriptor): boolean {
    return descriptor.moveTo(this.#party);
  }

  /** Closes one that can be spared: the eldest of the owner who has most of these. */
  closeSpare(): boolean {
    return this.#party.closeSpare();
  }
}

/** One that is taken. */
export class Descriptor {
  readonly #owner: string | undefined;
  #party: Party | undefined;
  #spare: Member<Spare> | undefined;

  constructor(party: Party, owner: string | undefined, source: Source) {
    this.#owner = owner;
    this.#party = party;
    party.add(owner, source);
  }

  /**
   * It may be closed for another one, until it is `needed`.
   *
   * @param close gives it back to the system before it returns
   */
  spare(close: () => void): void {
    if (this.#party && !this.#spare)
      this.#spare = this.#party.addSpare(this.#owner, { descriptor: this, close });
  }

  needed(): void {
    if (this.#spare) this.#party?.removeSpare(this.#owner, this.#spare);
    this.#spare = undefined;
  }

  /** It is closed; may be said more than once. */
  release(): void {
    this.needed();
    this.#party?.remove(this.#owner);
    this.#party = undefined;
  }

  moveTo(party: Party): boolean {
    const from = this.#party;
    if (!from || from === party) return from !== undefined;
    const close = this.#spare?.value.close;
    this.needed();
    const had = from.remove(this.#owner);
    const source = party.makeRoom(this.#owner);
    this.#party = source ? party : from;
    this.#party.add(this.#owner, source ?? had);
    if (!source && close) this.spare(close);
    return source !== undefined;
  }
}

/** Where one comes from: what is kept for its party, or the pool. */
type Source = "kept" | "borrowed";

/** One that can be spared. */
interface Spare {
  descriptor: Descriptor;
  close: () => void;
}

/** What is kept for none of the parties. */
class Pool {
  /** In the order in which they give way. */
  readonly parties: Party[] = [];
  free: number;

  constructor(size: number) {
    this.free = size;
  }
}

/** Whoever may have all of its party's is nobody in particular. */
const NOBODY = "";

class Party {
  readonly #pool: Pool;
  readonly #kept: number;
  readonly #most: number;
  readonly #onShort: (owner: string | undefined) => void;
  readonly #owners = new Tally();
  readonly #spare = new EldestOfLargest<Spare>();
  /** Those without an owner go after all others. */
  readonly #spareLast = new EldestOfLargest<Spare>();
  /** How many of those kept for it are free. */
  #free: number;
  #borrowed = 0;

  constructor(options: {
    pool: Pool;
    kept: number;
    most: number;
    onShort: (owner: string | undefined) => void;
  }) {
    this.#pool = options.pool;
    this.#most = options.most;
    this.#kept = options.kept;
    this.#free = options.kept;
    this.#onShort = options.onShort;
  }

  get held(): number {
    return this.#owners.total;
  }

  get left(): number {
    const fromOthers = this.#lenders().reduce((sum, other) => sum + other.#returnable, 0);
    return Math.min(this.#free + this.#pool.free + fromOthers, this.#most - this.held);
  }

  /** Sees to it that there is room for one more of this owner's; it is to be added then. */
  makeRoom(owner: string | undefined): Source | undefined {
    const { left } = this;
    const source = this.#sourceFor(owner, left, this.#free);
    if (source === "kept") return source;
    if (source === "borrowed") {
      if (this.#pool.free > 0) return source;
      this.#onShort(owner);
      const lender = this.#lenders().find((other) => other.#returnable > 0);
      if (lender) lender.#giveBack();
      return source;
    }
    this.#onShort(owner);
    const borrowed = this.#borrowed;
    // Who has too many to get the last one makes room by itself, and not at the cost of others.
    const isGreedy = this.#sourceFor(owner, Math.max(1, left), Math.max(1, this.#free)) === undefined;
    if (!this.closeSpare(isGreedy ? owner : undefined)) return undefined;
    return this.#borrowed < borrowed ? "borrowed" : "kept";
  }

  add(owner: string | undefined, source: Source): void {
    this.#owners.add(owner ?? NOBODY);
    this.#move(source, 1);
  }

  /** What is borrowed is given back first, but not before the last quarter is free again: others would use that up bit by bit. */
  remove(owner: string | undefined): Source {
    this.#owners.remove(owner ?? NOBODY);
    const source = this.#borrowed > 0 && this.#free >= this.#kept * LAST ? "borrowed" : "kept";
    this.#move(source, -1);
    return source;
  }

  addSpare(owner: string | undefined, spare: Spare): Member<Spare> {
    return this.#sparesOf(owner).add(owner ?? NOBODY, spare);
  }

  removeSpare(owner: string | undefined, spare: Member<Spare>): void {
    this.#sparesOf(owner).remove(spare);
  }

  /** @param owner of whom it must be; of anyone if left out */
  closeSpare(owner?: string): boolean {
    const eldest = this.#spare.eldest(owner) ?? (owner === undefined ? this.#spareLast.eldest() : undefined);
    eldest?.close();
    eldest?.descriptor.release();
    return eldest !== undefined;
  }

  /** Closes one that it can spare, and puts what that brings into the pool. */
  #giveBack(): void {
    const borrowed = this.#borrowed;
    this.closeSpare();
    if (this.#borrowed < borrowed) return;
    this.#move("borrowed", -1);
    this.#move("kept", 1);
  }

  #move(source: Source, by: 1 | -1): void {
    if (source === "kept") this.#free -= by;
    else {
      this.#borrowed += by;
      this.#pool.free -= by;
    }
  }

  /**
   * Where one more of this owner's would come from.
   *
   * @param left for the party
   * @param free of what is kept for it
   */
  #sourceFor(owner: string | undefined, left: number, free: number): Source | undefined {
    if (left < 1) return undefined;
    const has = owner === undefined ? 0 : this.#owners.of(owner);
    if (free >= 1 && free > this.#kept * LAST * Math.min(1, has / FEW)) return "kept";
    return left > free && has < TIMES_LEFT * left ? "borrowed" : undefined;
  }

  /** Those who give way to this party. */
  #lenders(): Party[] {
    const { parties } = this.#pool;
    return parties.slice(0, parties.indexOf(this));
  }

  /** What it has borrowed and can spare. */
  get #returnable(): number {
    return Math.min(this.#borrowed, this.#spare.size + this.#spareLast.size);
  }

  #sparesOf(owner: string | undefined): EldestOfLargest<Spare> {
    return owner === undefined ? this.#spareLast : this.#spare;
  }
}
