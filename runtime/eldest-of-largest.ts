/** A member of a group; what `add` gave, for `remove`. */
export interface Member<T> extends InRow<Member<T>> {
  readonly group: Group<T>;
  readonly value: T;
}

interface Group<T> extends InRow<Group<T>> {
  readonly name: string;
  readonly members: Row<Member<T>>;
  size: number;
}

/**
 * Members of groups. Finds who has been longest in the largest group, in a time that does not grow with how many there are:
 * what asks for it is a flood.
 */
export class EldestOfLargest<T> {
  readonly #groups = new Map<string, Group<T>>();
  readonly #bySize = new Map<number, Row<Group<T>>>();
  #largest = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(name: string, value: T): Member<T> {
    let group = this.#groups.get(name);
    if (!group) {
      group = { name, members: new Row(), size: 0, before: undefined, after: undefined };
      this.#groups.set(name, group);
    }
    const member: Member<T> = { group, value, before: undefined, after: undefined };
    group.members.push(member);
    this.#resize(group, 1);
    return member;
  }

  /** @param member one that has not been removed yet */
  remove(member: Member<T>): void {
    const { group } = member;
    group.members.remove(member);
    this.#resize(group, -1);
    if (group.size === 0) this.#groups.delete(group.name);
  }

  /** @param name the group to look into, if not the largest; of groups of one size it is the one that has had it for longest */
  eldest(name?: string): T | undefined {
    const group = name === undefined ? this.#bySize.get(this.#largest)?.first : this.#groups.get(name);
    return group?.members.first?.value;
  }

  #resize(group: Group<T>, by: 1 | -1): void {
    const row = this.#bySize.get(group.size);
    if (row) {
      row.remove(group);
      if (!row.first) this.#bySize.delete(group.size);
    }
    group.size += by;
    this.#size += by;
    if (group.size > 0) {
      let next = this.#bySize.get(group.size);
      if (!next) this.#bySize.set(group.size, (next = new Row()));
      next.push(group);
    }
    if (group.size > this.#largest) this.#largest = group.size;
    else if (!this.#bySize.has(this.#largest)) this.#largest = group.size;
  }
}

/** Who stands beside it in a `Row`. */
interface InRow<Each> {
  before: Each | undefined;
  after: Each | undefined;
}

/** A queue that anyone may leave. A Set would have to look for its first behind all those that have left there. */
class Row<Each extends InRow<Each>> {
  first: Each | undefined;
  #last: Each | undefined;

  push(one: Each): void {
    one.before = this.#last;
    one.after = undefined;
    if (this.#last) this.#last.after = one;
    else this.first = one;
    this.#last = one;
  }

  remove(one: Each): void {
    if (one.before) one.before.after = one.after;
    else this.first = one.after;
    if (one.after) one.after.before = one.before;
    else this.#last = one.before;
  }
}
