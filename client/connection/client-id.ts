import { randomBytes } from "node:crypto";
import path from "node:path";
import { createOnce } from "../../runtime/create-once.ts";
import type { Log } from "../../runtime/log.ts";
import { ensureDirectory, writeFileAtomically } from "../../runtime/state-directory.ts";

const CLIENT_ID = /^[0-9a-f]{32}$/;

/**
 * What tells this client from others with the same key: random, and kept in the state directory, so that a
 * restarted client takes its old session's place and keeps its generated names. Where nothing can be kept, one
 * for this run, with a warning.
 */
export async function clientId(stateDir: string, log: Pick<Log, "warn">): Promise<string> {
  const fresh = randomBytes(16).toString("hex");
  const file = path.join(stateDir, "client-id");
  try {
    await ensureDirectory(stateDir);
    const kept = (await createOnce(file, () => `${fresh}\n`)).trim();
    if (CLIENT_ID.test(kept)) return kept;
    log.warn({ file }, "the client's id was damaged; it gets a new one, and new generated names");
    await writeFileAtomically(file, `${fresh}\n`, 0o600);
  } catch (error) {
    log.warn(
      { file, error },
      "the client's id cannot be kept: after a restart, generated names differ and old sessions end only by themselves",
    );
  }
  return fresh;
}
