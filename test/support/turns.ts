/** Resolves at the end of this turn of the event loop, behind what was scheduled for it before. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Lets turns pass until the condition holds. */
export async function turnsUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}
