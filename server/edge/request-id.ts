import { randomFillSync } from "node:crypto";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH = 16;
const pool = Buffer.allocUnsafe(LENGTH * 256);
let used = pool.length;

/** 80 random bits in 16 letters and digits that cannot be taken for one another: unique across processes. */
export function newRequestId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  let id = "";
  for (const end = used + LENGTH; used < end; used++) id += ALPHABET[pool[used]! & 31];
  return id;
}
