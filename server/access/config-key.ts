/**
 * The id and secret of a key that stands in the config. There the secret is a text of 22 characters or more, as
 * people and secret stores have it, while an access key has room for 8 bytes of id and 16 of secret. So both are
 * derived, the same each time: the same config gives the same access key on every start and every machine, and
 * `key show` can print it again. 22 characters of 63 hold more than 128 bits, so that cutting the hash at 16 bytes
 * loses nothing.
 */
import { createHash } from "node:crypto";

/** 8 bytes. */
export function configKeyId(name: string): Buffer {
  return createHash("sha256").update(`culvert key id:${name}`).digest().subarray(0, 8);
}

/** 16 bytes. */
export function configKeySecret(secretText: string): Buffer {
  return createHash("sha256").update(secretText).digest().subarray(0, 16);
}
