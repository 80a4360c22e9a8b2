import { accessSync, constants } from "node:fs";
import path from "node:path";
import type { TargetTls } from "../link/messages.ts";
import { readTargetTls } from "../link/target-tls.ts";
import { parseTarget } from "../link/target.ts";
import { fileErrorInWords } from "../runtime/file-error.ts";
import { readSecretFile, type SecretFile } from "../runtime/secret-file.ts";
import { normalizeHostname, normalizeSubdomain } from "./routing/hostname.ts";

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
  report: (at: PropertyKey[], message: string) => void;
}

// 22 letters and digits hold as much as 16 random bytes.
export const SECRET = /^[A-Za-z0-9_]{22,}$/;
export const SECRET_EXPECTED = "expected at least 22 characters of A-Z, a-z, 0-9 and _";

/**
 * What no option shows by itself: names and hostnames given twice, files that cannot be read, options that exclude one
 * another. Takes what could be read of a file with other mistakes too, so that all of them are listed together.
 */
export function checkServerOptions(options: unknown, context: CheckContext): void {
  const { http, grpc, keys } = record(options);
  checkPorts(record(record(http)["listen"]), record(record(grpc)["listen"]), context);
  checkTlsFiles(record(record(grpc)["tls"]), context);

  const domain = record(http)["domain"];
  const takenNames = new Map<string, string>();
  const claims = new Claims(context);
  list(keys).forEach((each, i) => {
    const key = record(each);
    once(takenNames, key["name"], ["keys", i, "name"], `keys[${i}]`, context);
    checkSecret(key, i, context);
    checkTunnels(list(key["tunnels"]).map(record), i, context);
  });
  // Tunnels last: a hostname that a key lists is that key's, wherever in the file it stands.
  list(keys).forEach((each, i) => claims.list(list(record(each)["hostnames"]), i));
  list(keys).forEach((each, i) => {
    list(record(each)["tunnels"]).forEach((tunnel, j) => claims.tunnel(record(tunnel), domain, i, j));
  });
}

/** The whole hostname of a tunnel: as given, or its subdomain, or else its name, under the domain. */
export function tunnelHostname(tunnel: Record<string, unknown>, domain: unknown): string | undefined {
  const { hostname, subdomain = tunnel["name"] } = tunnel;
  if (typeof hostname === "string") return hostname;
  if (hostname !== undefined || typeof subdomain !== "string" || typeof domain !== "string") return undefined;
  const label = normalizeSubdomain(subdomain);
  return label === undefined ? undefined : normalizeHostname(`${label}.${domain}`);
}

function checkPorts(
  http: Record<string, unknown>,
  grpc: Record<string, unknown>,
  context: CheckContext,
): void {
  if (http["port"] === undefined || http["port"] === 0 || http["port"] !== grpc["port"]) return;
  if (http["host"] === grpc["host"] || http["host"] === undefined || grpc["host"] === undefined) {
    context.report(
      ["grpc", "listen"],
      `port ${String(grpc["port"])} is taken by http.listen: give each its own`,
    );
  }
}

function checkTlsFiles(tls: Record<string, unknown>, { directory, report }: CheckContext): void {
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

function checkSecret(
  key: Record<string, unknown>,
  i: number,
  { directory, files, report }: CheckContext,
): void {
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

function checkTunnels(tunnels: Record<string, unknown>[], i: number, context: CheckContext): void {
  const at = ["keys", i, "tunnels"];
  const taken = new Map<string, string>();
  tunnels.forEach((tunnel, j) => {
    const { name, hostname, subdomain } = tunnel;
    once(taken, name, [...at, j, "name"], `tunnels[${j}]`, context);
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
    checkTargetTls(tunnel, [i, j], context);
  });
}

function checkTargetTls(
  tunnel: Record<string, unknown>,
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

/** Which hostname is whose. Messages name places and no hostnames, which may come from the environment. */
class Claims {
  readonly #context: CheckContext;
  readonly #listed = new Map<string, { key: number; place: string }>();
  readonly #served = new Map<string, string>();

  constructor(context: CheckContext) {
    this.#context = context;
  }

  list(hostnames: unknown[], key: number): void {
    hostnames.forEach((hostname, j) => {
      if (typeof hostname !== "string") return;
      const first = this.#listed.get(hostname);
      if (first) this.#taken(["keys", key, "hostnames", j], first.place);
      else this.#listed.set(hostname, { key, place: `keys[${key}].hostnames[${j}]` });
    });
  }

  tunnel(tunnel: Record<string, unknown>, domain: unknown, key: number, j: number): void {
    const hostname = tunnelHostname(tunnel, domain);
    if (hostname === undefined) return;
    const option = ["hostname", "subdomain"].find((each) => tunnel[each] !== undefined) ?? "name";
    const listed = this.#listed.get(hostname);
    const first = this.#served.get(hostname) ?? (listed && listed.key !== key ? listed.place : undefined);
    if (first === undefined) this.#served.set(hostname, `keys[${key}].tunnels[${j}]`);
    else this.#taken(["keys", key, "tunnels", j, option], first);
  }

  #taken(at: PropertyKey[], first: string): void {
    this.#context.report(at, `this hostname is taken by ${first}: a hostname is given once`);
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
