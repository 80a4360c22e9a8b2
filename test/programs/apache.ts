import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../../bench/free-port.ts";
import type { Identity } from "../support/certificates.ts";
import { OutsideProgram } from "./outside-program.ts";

/** Where Debian has its modules. */
const MODULES = "/usr/lib/apache2/modules";

export interface ApacheOptions {
  /** Empty, and removed by whoever made it. */
  directory: string;
  /** Beside those that it does not run without. */
  modules: string[];
  /** What its configuration says beside the usual; `documents` is a directory that it may write to. */
  config: (places: { port: number; documents: string }) => string;
}

/** A real Apache in the foreground, on a port of its own of 127.0.0.1, with nothing of the system's configuration. */
export async function startApache({
  directory,
  modules,
  config,
}: ApacheOptions): Promise<OutsideProgram & { port: number; documents: string }> {
  const port = await freePort();
  const documents = join(directory, "documents");
  await mkdir(documents);
  // As root it has workers of another user.
  await chmod(directory, 0o755);
  await chmod(documents, 0o777);
  const file = join(directory, "httpd.conf");
  const loaded = ["mpm_event", "authz_core", ...modules].map(
    (name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so\n`,
  );
  await writeFile(
    file,
    `ServerRoot ${directory}
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile ${directory}/pid
User nobody
Group nogroup
${loaded.join("")}
Mutex file:${directory}
ErrorLog "||/bin/cat"
LogLevel notice
DocumentRoot ${documents}
${config({ port, documents })}
`,
  );
  const apache = new OutsideProgram(["apache2", "-DFOREGROUND", "-f", file]);
  await apache.printed("resuming normal operations");
  return Object.assign(apache, { port, documents });
}

/** Writes a certificate and its key where Apache's configuration can name them, and gives the lines that do. */
export async function certificateFiles(directory: string, name: string, identity: Identity): Promise<string> {
  const [cert, key] = [join(directory, `${name}.pem`), join(directory, `${name}.key`)];
  await writeFile(cert, identity.cert);
  await writeFile(key, identity.key, { mode: 0o600 });
  return `SSLEngine on\nSSLCertificateFile ${cert}\nSSLCertificateKeyFile ${key}`;
}
