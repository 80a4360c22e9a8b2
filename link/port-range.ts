/** Ports, one behind the other. */
export interface PortRange {
  from: number;
  /** The last of them. */
  to: number;
}

export const MAX_PORT = 65_535;
/** How many ports one tunnel may have. */
export const MAX_PORTS = 1_000;

const EXPECTED = "expected a port such as 2222, or several such as 6000-6010";

/**
 * Reads `2222`, `6000-6010`. What it cannot read gives a string that says what was expected, to be followed by what was got.
 */
export function parsePortRange(text: string): PortRange | string {
  const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  if (first === undefined) return EXPECTED;
  const range = { from: Number(first), to: Number(last) };
  if (range.from > range.to) return `${EXPECTED}, the lower one first`;
  if (range.from < 1 || range.to > MAX_PORT) return `${EXPECTED}; a port is 1 to ${MAX_PORT}`;
  return range;
}

export function portsIn({ from, to }: PortRange): number {
  return to - from + 1;
}
