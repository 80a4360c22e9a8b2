import * as fc from "fast-check";

const PARTS = 1_000_000;

/** From 0 up to, not including, 1, evenly; of what `fc.double` makes nearly all is next to 0. */
export const share = fc.integer({ min: 0, max: PARTS - 1 }).map((part) => part / PARTS);
