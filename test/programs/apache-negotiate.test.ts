import { existsSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { skippedWithout } from "../support/programs.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";
import { startWorld, type World } from "../support/world.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";

/** Where Debian has Apache's modules. */
const MODULES = "/usr/lib/apache2/modules";
const NEEDED_MODULES = ["mpm_event", "authn_core", "authz_core", "authz_user", "auth_gssapi", "headers"];

const skipped =
  skippedWithout("apache2", "curl") ||
  (existsSync(`${MODULES}/mod_auth_gssapi.so`) || process.env["CI"]
    ? ""
    : " (skipped: needs Apache's mod_auth_gssapi)");

// Inside of Negotiate it speaks NTLMSSP, in three messages, for which no domain is needed; with Kerberos one would do.
describe.skipIf(skipped !== "")(
  `a service that signs its visitors in by Negotiate (Apache)${skipped}`,
  () => {
    let directory: AsyncDisposable & { path: string };
    let apache: OutsideProgram;
    let world: World;
    beforeAll(async () => {
      directory = await lastingDirectory();
      const port = await freePort();
      apache = await startApache(directory.path, port);
      world = await startWorld({ service: { host: "127.0.0.1", port } });
    });
    afterAll(async () => {
      await world?.[Symbol.asyncDispose]();
      await apache?.[Symbol.asyncDispose]();
      await directory?.[Symbol.asyncDispose]();
    });

    /** The users whom the answers were for, one for each path. */
    function curl(user: string, paths: string[], ...options: string[]): Promise<string> {
      const { httpPort } = world;
      return outputOf([
        "env",
        `NTLM_USER_FILE=${join(directory.path, user)}`,
        "curl",
        ..."--silent --show-error --max-time 20 --noproxy * --negotiate --user :".split(" "),
        ...options,
        "--write-out",
        "%header{x-user}\n",
        "--resolve",
        `app.localhost:${httpPort}:127.0.0.1`,
        ...paths.flatMap((path) => ["--output", "/dev/null", `http://app.localhost:${httpPort}${path}`]),
      ]);
    }

    test("signs in, 10 times of 10", async () => {
      for (let i = 0; i < 10; i++) expect(await curl("alice", ["/index.html"])).toBe("TEST\\alice\n");
    });

    test("signs in to post, 10 times of 10", async () => {
      for (let i = 0; i < 10; i++)
        expect(await curl("bob", ["/index.html"], "--data", "x")).toBe("TEST\\bob\n");
    });

    test("answers nobody else as somebody who is signed in", async () => {
      const paths = Array.from({ length: 20 }, (_, i) => `/index.html?${i}`);
      const done = new AbortController();
      const alice = curl("alice", paths, "--rate", "20/s").finally(() => done.abort());
      const statuses: number[] = [];
      while (!done.signal.aborted || statuses.length < 20)
        statuses.push((await world.visit("/index.html")).status);
      expect(new Set(statuses)).toEqual(new Set([401]));
      expect(await alice).toBe("TEST\\alice\n".repeat(20));
    });
  },
);

/** One that believes the users in the files that are named for them. */
async function startApache(directory: string, port: number): Promise<OutsideProgram> {
  const users = ["alice", "bob"].map((name) => ({ name, line: `TEST:${name}:secret-of-${name}\n` }));
  for (const { name, line } of users) await writeFile(join(directory, name), line);
  const all = join(directory, "users");
  await writeFile(all, users.map(({ line }) => line).join(""));
  const documents = join(directory, "documents");
  await mkdir(documents);
  await writeFile(join(documents, "index.html"), "hello");
  // As root it has workers of another user.
  for (const path of [directory, documents]) await chmod(path, 0o755);
  const config = join(directory, "httpd.conf");
  const modules = NEEDED_MODULES.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so\n`);
  await writeFile(
    config,
    `ServerRoot ${directory}
ServerName app.localhost
Listen 127.0.0.1:${port}
PidFile ${directory}/pid
User nobody
Group nogroup
${modules.join("")}
ErrorLog "||/bin/cat"
LogLevel notice
DocumentRoot ${documents}
KeepAlive On
<Directory ${documents}>
  AuthType GSSAPI
  AuthName test
  GssapiConnectionBound On
  GssapiAllowedMech ntlmssp
  Require valid-user
  Header always set X-User "expr=%{REMOTE_USER}"
</Directory>
`,
  );
  const apache = new OutsideProgram([
    "env",
    `NTLM_USER_FILE=${all}`,
    "apache2",
    "-DFOREGROUND",
    "-f",
    config,
  ]);
  await apache.printed("resuming normal operations");
  return apache;
}
