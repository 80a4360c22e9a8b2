export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** Undefined of nothing. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/**
 * Of one contender to another, round by round, so that what the machine did meanwhile counts for both; rounds that only one of them
 * has are left out.
 *
 * @param ours,theirs figures by round
 */
export function ratioOf(
  ours: ReadonlyMap<number, number>,
  theirs: ReadonlyMap<number, number>,
): Spread | undefined {
  const ratios = [...ours].flatMap(([round, value]) => {
    const other = theirs.get(round);
    return other === undefined || other === 0 ? [] : [value / other];
  });
  return spreadOf(ratios);
}
