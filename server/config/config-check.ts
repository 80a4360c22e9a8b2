import { accessSync, constants } from "node:fs";
import path from "node:path";
import type { TargetTls } from "../../link/messages.ts";
import { readTargetTls } from "../../link/target-tls.ts";
import { parseTarget } from "../../link/target.ts";
import { fileErrorInWords } from "../../runtime/file-error.ts";
import { readSecretFile, type SecretFile } from "../../runtime/secret-file.ts";
import { checkClaims } from "./config-claims.ts";
import { checkReach } from "./config-reach.ts";
import { hasHostname, hasPorts } from "./config-tunnels.ts";
import { list, record, type Report, type Unchecked } from "./config-unchecked.ts";
import { normalizeSubdomain } from "../routing/hostname.ts";

/** What was read on the way. */
export interface ConfigFiles {
  /** What the `secret_file` options hold, by the index of their key. */
  secrets: Map<number, SecretFile>;
  /** How `https://` targets are checked, by the indexes of their key and tunnel: `0.1`. */
  targetTls: Map<string, TargetTls>;
}

export interface CheckContext {
  /** What relative paths start from. */
  directory: string;
  /** Filled here. */
  files: ConfigFiles;
  report: Report;
}

// 22 letters and digits hold as much as 16 random bytes.
export const SECRET = /^[A-Za-z0-9_]{22,}$/;
export const SECRET_EXPECTED = "expected at least 22 characters of A-Z, a-z, 0-9 and _";

/**
 * What no option shows by itself: names and hostnames given twice, files that cannot be read, options that exclude one
 * another. Takes what could be read of a file with other mistakes too, so that all of them are listed together.
 */
export function checkServerOptions(options: unknown, context: CheckContext): void {
  const sections = record(options);
  const keys = list(sections["keys"]).map(record);
  checkTlsFiles(record(record(sections["grpc"])["tls"]), context);
  const takenNames = new Map<string, string>();
  keys.forEach((key, i) => {
    once(takenNames, key["name"], ["keys", i, "name"], `keys[${i}]`, context);
    checkSecret(key, i, context);
    checkTunnels(list(key["tunnels"]).map(record), i, context);
  });
  checkClaims(keys, record(sections["http"])["domain"], context.report);
  checkReach(sections, keys, context.report);
}

function checkTlsFiles(tls: Unchecked, { directory, report }: CheckContext): void {
  for (const option of ["cert", "key"]) {
    const file = tls[option];
    if (typeof file !== "string") continue;
    try {
      accessSync(path.resolve(directory, file), constants.R_OK);
    } catch (error) {
      report(["grpc", "tls", option], `expected a file that can be read (${fileErrorInWords(error)})`);
    }
  }
}

function checkSecret(key: Unchecked, i: number, { directory, files, report }: CheckContext): void {
  const { secret, secret_file: file } = key;
  if (secret !== undefined && file !== undefined) {
    report(["keys", i, "secret_file"], "a key has one secret: take out secret or secret_file");
  }
  if (secret === undefined && file === undefined && Object.keys(key).length > 0) {
    report(["keys", i], "the key needs a secret: give secret or secret_file");
  }
  if (typeof file !== "string") return;
  const read = readSecretFile(path.resolve(directory, file));
  if (typeof read === "string") report(["keys", i, "secret_file"], read);
  else if (!SECRET.test(read.secret)) {
    report(["keys", i, "secret_file"], `the file's content is no secret: ${SECRET_EXPECTED}, on one line`);
  } else files.secrets.set(i, read);
}

function checkTunnels(tunnels: Unchecked[], i: number, context: CheckContext): void {
  const at = ["keys", i, "tunnels"];
  const taken = new Map<string, string>();
  tunnels.forEach((tunnel, j) => {
    const { name, hostname, subdomain } = tunnel;
    once(taken, name, [...at, j, "name"], `tunnels[${j}]`, context);
    if (tunnel["port"] !== undefined && tunnel["ports"] !== undefined && hasPorts(tunnel)) {
      context.report([...at, j, "ports"], "a tunnel has one place: take out port or ports");
    }
    if (!hasHostname(tunnel)) return;
    if (hostname !== undefined && subdomain !== undefined) {
      context.report([...at, j, "subdomain"], "a tunnel has one address: take out hostname or subdomain");
    }
    if (
      hostname === undefined &&
      subdomain === undefined &&
      typeof name === "string" &&
      !normalizeSubdomain(name)
    ) {
      context.report(
        [...at, j, "name"],
        "this name cannot be a subdomain: give the tunnel a hostname or subdomain",
      );
    }
    if (tunnel["type"] === "http") checkTargetTls(tunnel, [i, j], context);
  });
}

function checkTargetTls(
  tunnel: Unchecked,
  [i, j]: [key: number, tunnel: number],
  { directory, files, report }: CheckContext,
): void {
  const target = typeof tunnel["target"] === "string" ? parseTarget(tunnel["target"]) : undefined;
  const { targetTls, problems } = readTargetTls(
    typeof target === "string" ? undefined : target,
    tunnel,
    directory,
  );
  for (const { option, message } of problems) report(["keys", i, "tunnels", j, option], message);
  if (targetTls) files.targetTls.set(`${i}.${j}`, targetTls);
}

function once(
  taken: Map<string, string>,
  name: unknown,
  at: PropertyKey[],
  owner: string,
  { report }: CheckContext,
): void {
  if (typeof name !== "string") return;
  const first = taken.get(name);
  if (first === undefined) taken.set(name, owner);
  else report(at, `this name is taken by ${first}: names are given once`);
}
