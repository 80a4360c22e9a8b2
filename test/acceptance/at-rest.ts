import type { Program } from "../support/processes.ts";
import { openDescriptors } from "./process-use.ts";
import type { Tunnel } from "./tunnel.ts";

const RELEASE_MS = 5_000;
/** Descriptors of programs that serve nobody. */
const known = new WeakMap<Program, number>();

/** To be called before a case does anything: new processes have had no visitors yet. */
export async function noteRest(tunnel: Tunnel): Promise<void> {
  for (const program of [tunnel.server, tunnel.client])
    if (!known.has(program)) known.set(program, await openDescriptors(program.pid));
}

/**
 * Nothing is left of any visit, if all of them were broken off: both processes have no more open than before their first
 * visitor.
 *
 * @throws if that takes longer than seconds
 */
export async function expectAtRest(tunnel: Tunnel): Promise<void> {
  const until = performance.now() + RELEASE_MS;
  for (;;) {
    const excess = [];
    for (const [name, program] of [
      ["server", tunnel.server],
      ["client", tunnel.client],
    ] as const) {
      const more = (await openDescriptors(program.pid)) - known.get(program)!;
      if (more > 0) excess.push(`the ${name} has ${more} descriptors more than at rest`);
    }
    if (excess.length === 0) return;
    if (performance.now() > until) throw new Error(excess.join(", "));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
