/** Which UNIX sockets a server may name: none, unless the client's owner has written its path, or its directory. */
import { realpathSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { parseTarget } from "../../link/target.ts";

export interface SocketRule {
  /** Absolute; a directory ends with a slash, and stands for everything beneath it. */
  path: string;
}

export interface SocketVerdict {
  allowed: boolean;
  /** The path to dial, its symbolic links resolved, or what the verdict is about. */
  path: string;
}

/**
 * Reads `unix:/run/app.sock` or `unix:/run/apps/`. There is no rule for every socket: among them are those of Docker
 * and of the system bus, and who has them has the machine.
 *
 * @throws Error
 */
export function parseSocketRule(text: string): SocketRule {
  const directory = text.endsWith("/");
  const parsed = parseTarget(directory ? text.slice(0, -1) : text);
  if (typeof parsed === "string" || !("path" in parsed))
    throw new Error("expected unix:/run/app.sock, or unix:/run/apps/ for all sockets beneath");
  const path = normalize(parsed.path);
  return { path: directory ? `${path}/` : path };
}

/**
 * What a path leads to must be allowed as well as the path itself, so that a link within an allowed directory leads
 * nowhere else. A path that is not allowed is not even looked at: the server could tell from the answer what is there.
 *
 * @throws NodeJS.ErrnoException of "realpath"
 */
export function judgeSocket(path: string, rules: readonly SocketRule[]): SocketVerdict {
  const named = normalize(path);
  const naming = rules.filter((rule) => covers(rule, named));
  if (naming.length === 0) return { allowed: false, path };
  // Synchronous: it is asked about the few paths that the owner has named.
  const real = realpathSync.native(named);
  return { allowed: naming.some((rule) => covers(resolved(rule), real)), path: real };
}

function covers(rule: SocketRule, path: string): boolean {
  return rule.path.endsWith("/") ? path.startsWith(rule.path) : path === rule.path;
}

/** The links on the way to a socket, or to a directory, are the owner's own: /var/run is one to /run. */
function resolved({ path }: SocketRule): SocketRule {
  if (path.endsWith("/")) return { path: join(realpathSync.native(path), "/") };
  return { path: join(realpathSync.native(dirname(path)), basename(path)) };
}
