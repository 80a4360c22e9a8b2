import type { Key } from "../../server/access/key.ts";
import { NameOwners } from "../../server/access/name-owners.ts";
import type { Place } from "../../server/routing/place.ts";
import type { NamingRules } from "../../server/sessions/naming.ts";
import type { PortOpener } from "../../server/sessions/public-ports.ts";

/** Rules of a server without keys that own anything. */
export function namingRules(more: Partial<NamingRules> = {}): NamingRules {
  return {
    domain: "example.com",
    ...ownedBy([]),
    publicUrl: (place: Place) =>
      "port" in place
        ? `${place.kind.toLowerCase()}://example.com:${place.port}`
        : `http://${place.hostname}/`,
    freePorts: () => ({ from: 20_000, to: 20_009 }),
    hasTls: true,
    ownPorts: () => [],
    ...more,
  };
}

/** The rules about what is written to keys. */
export function ownedBy(keys: readonly Key[]): Pick<NamingRules, "ownersOf" | "ownersOver" | "portOwners"> {
  const owners = new NameOwners(keys);
  return {
    ownersOf: (name) => owners.of(name),
    ownersOver: (hostname) => owners.over(hostname),
    portOwners: (kind, range) => owners.ofPorts(kind, range),
  };
}

/** Opens nothing, and remembers what is open. */
export class FakePorts implements PortOpener {
  readonly opened = new Set<string>();
  /** What other programs have, or what the system does not allow. */
  readonly taken = new Map<string, string>();
  /** What opening takes. */
  wait: () => Promise<void> = () => Promise.resolve();

  async open(kind: string, port: number): Promise<void> {
    await this.wait();
    const name = `${kind.toLowerCase()}:${port}`;
    const code = this.taken.get(name);
    if (code !== undefined) throw Object.assign(new Error(code), { code });
    if (this.opened.has(name)) throw new Error(`${name} is opened twice`);
    this.opened.add(name);
  }

  close(kind: string, port: number): void {
    if (!this.opened.delete(`${kind.toLowerCase()}:${port}`)) throw new Error(`${port} is closed twice`);
  }

  /** In order. */
  get names(): string[] {
    return [...this.opened].toSorted();
  }
}
