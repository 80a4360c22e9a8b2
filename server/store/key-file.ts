/** keys.json in the data directory: the access keys that `tunnel-server key create` made. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { parseTcpTarget, parseTlsTarget, parseUdpTarget } from "../../link/byte-target.ts";
import { MAX_PORT, MAX_PORTS, type PortRange } from "../../link/port-range.ts";
import { parseTarget } from "../../link/target.ts";
import { fileErrorInWords } from "../../runtime/file-error.ts";
import { quoted } from "../../runtime/printable.ts";
import { writeFileAtomically } from "../../runtime/state-directory.ts";
import type { Place } from "../routing/place.ts";
import { withLock } from "./file-lock.ts";

/** A tunnel that the server maps to a key. */
export type MappedTunnel = Place & {
  name: string;
  /** The local service, as `formatTarget` writes it; of several ports that of the first, the others follow. */
  target: string;
};

export interface StoredKey {
  /** 16 hex digits. */
  id: string;
  name: string;
  /** SHA-256 of the secret's 16 bytes, in hex; the secret itself is nowhere. */
  secretSha256: string;
  /** Hostnames that the key may claim, besides subdomains. */
  hostnames: string[];
  /** Public ports that it may ask for, beside those that any key may. */
  ports?: PortRange[] | undefined;
  tunnels: MappedTunnel[];
  /** ISO 8601. */
  created: string;
}

/** keys.json cannot be read, understood or written; the message says which file, why, and what to do. */
export class KeyFileError extends Error {
  override readonly name = "KeyFileError";
}

/** Whether a text can be the name of a key or tunnel: letters, digits, ".", "_" and "-", up to 63. */
export function isName(text: string): boolean {
  return /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(text);
}

export function keyFileIn(dataDir: string): string {
  return path.join(dataDir, "keys.json");
}

/**
 * The stored keys; none if there is no file.
 * @throws KeyFileError
 */
export async function readKeyFile(file: string): Promise<StoredKey[]> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new KeyFileError(`cannot read ${file}: ${fileErrorInWords(error)}`, { cause: error });
  }
  return parse(text, file);
}

/**
 * Replaces the stored keys by what `change` makes of them. Two processes that do so at once do it one after the
 * other; a reader sees the old keys or the new.
 * @throws KeyFileError; and what `change` throws, with nothing changed
 */
export async function updateKeyFile(file: string, change: (keys: StoredKey[]) => StoredKey[]): Promise<void> {
  let inChange = false;
  try {
    await withLock(`${file}.lock`, async (checkStillHeld) => {
      const before = await readKeyFile(file);
      inChange = true;
      const after = change(before);
      inChange = false;
      const text = `${JSON.stringify(toFile(after), null, 2)}\n`;
      // What cannot be read again must not get in.
      parse(text, file);
      await checkStillHeld();
      await writeFileAtomically(file, text, 0o600);
    });
  } catch (error) {
    if (inChange || error instanceof KeyFileError) throw error;
    const why =
      error instanceof Error && "path" in error ? fileErrorInWords(error) : (error as Error).message;
    throw new KeyFileError(`cannot change ${file}: ${why}`, { cause: error });
  }
}

const hostname = z
  .string()
  .regex(/^(?:\*|(?:\*\.)?[a-z0-9_][a-z0-9_.-]*)$/, 'expected a hostname in lower case, or "*"')
  .max(253);
const name = z.string().refine(isName, 'expected letters, digits, ".", "_" and "-"');
const port = z.int().min(1).max(MAX_PORT);
const portRange = z
  .strictObject({ from: port, to: port })
  .refine(({ from, to }) => from <= to, "expected the lowest port first");
/** With ports; the target is that of the first. */
const portTunnel = {
  name,
  // 0: any free one.
  port: z.int().min(0).max(MAX_PORT),
  ports: z.int().min(1).max(MAX_PORTS),
};
const FITS = `expected ports up to ${MAX_PORT}, and a target for each`;
const tunnel = z.discriminatedUnion("type", [
  z.strictObject({ name, type: z.literal("http"), hostname, target: targetReadBy(parseTarget) }),
  z.strictObject({ name, type: z.literal("tls"), hostname, target: targetReadBy(parseTlsTarget) }),
  z
    .strictObject({ ...portTunnel, type: z.literal("tcp"), target: firstTargetReadBy(parseTcpTarget) })
    .refine(fits, FITS),
  z
    .strictObject({ ...portTunnel, type: z.literal("udp"), target: firstTargetReadBy(parseUdpTarget) })
    .refine(fits, FITS),
]);

/** Strict: a field that this version does not know may be a limit, and ignoring it would give more than was meant. */
const keyFileSchema = z.strictObject({
  version: z.literal(1),
  keys: z.array(
    z.strictObject({
      id: z.string().regex(/^[0-9a-f]{16}$/, "expected 16 hex digits"),
      name,
      secret_sha256: z.string().regex(/^[0-9a-f]{64}$/, "expected 64 hex digits"),
      hostnames: z.array(hostname),
      ports: z.array(portRange).optional(),
      tunnels: z.array(tunnel),
      created: z.iso.datetime(),
    }),
  ),
});

function targetReadBy(parse: (text: string) => object | string) {
  return z.string().refine((text) => typeof parse(text) !== "string", "expected a target of this type");
}

/** Of one port, since the file says elsewhere how many follow. */
function firstTargetReadBy(parse: typeof parseTcpTarget) {
  return targetReadBy((text) => {
    const range = parse(text);
    return typeof range !== "string" && range.ports > 1 ? "expected one port" : range;
  });
}

/** Ports end somewhere, in public and at the target; a UNIX socket has none. */
function fits(tunnel: { port: number; ports: number; target: string }): boolean {
  const { port, ports } = tunnel;
  const target = parseTarget(tunnel.target);
  if (typeof target === "string") return true;
  return Math.max(port, "path" in target ? MAX_PORT : target.port) + ports - 1 <= MAX_PORT;
}

function parse(text: string, file: string): StoredKey[] {
  const { keys } = check(text, file);
  const problem = repeated(keys.map(({ id }) => id)) ?? repeated(keys.map(({ name }) => name));
  if (problem !== undefined) throw new KeyFileError(`${file}: ${quoted(problem)} stands there twice`);
  return keys.map(({ secret_sha256, tunnels, ...key }) => ({
    ...key,
    secretSha256: secret_sha256,
    tunnels: tunnels.map(({ type, ...tunnel }) => ({ ...tunnel, kind: type.toUpperCase() }) as MappedTunnel),
  }));
}

function check(text: string, file: string): z.infer<typeof keyFileSchema> {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    // Neither the parser's words nor its error, which quote the file.
    throw new KeyFileError(`${file} is not valid JSON: it is half written, or was damaged by hand`);
  }
  if (typeof data === "object" && data !== null && "version" in data && Number(data.version) > 1) {
    throw new KeyFileError(`${file} was written by a newer version of tunnel-server`);
  }
  const result = keyFileSchema.safeParse(data);
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    (issue) => `${issue.path.join(".") || "the file"}: ${issue.message}`,
  );
  throw new KeyFileError(
    `${file} has not the expected form: ${quoted(problems.slice(0, 5).join("; "), 500)}`,
  );
}

function toFile(keys: StoredKey[]): z.input<typeof keyFileSchema> {
  return {
    version: 1,
    keys: keys.map(({ id, name, secretSha256, hostnames, ports, tunnels, created }) => ({
      id,
      name,
      secret_sha256: secretSha256,
      hostnames,
      ...(ports && { ports }),
      tunnels: tunnels.map(toStoredTunnel),
      created,
    })),
  };
}

function toStoredTunnel({ name, target, ...place }: MappedTunnel): z.input<typeof tunnel> {
  if ("hostname" in place) {
    const { kind, hostname } = place;
    return { name, type: kind === "TLS" ? "tls" : "http", hostname, target };
  }
  const { kind, port, ports } = place;
  return { name, type: kind === "UDP" ? "udp" : "tcp", port, ports, target };
}

function repeated(values: string[]): string | undefined {
  return values.find((value, index) => values.indexOf(value) !== index);
}
