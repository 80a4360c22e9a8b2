import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { consentTo, parseAllowRules } from "../../../client/local/consent.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

/** Directories apps/ and apps/deep/, beside them other/; each with a file a.sock. What the file is does not matter here. */
async function places(): Promise<string> {
  const root = await temporaryDirectory();
  for (const directory of ["apps", "apps/deep", "other"]) {
    await mkdir(join(root, directory));
    await writeFile(join(root, directory, "a.sock"), "");
  }
  return root;
}

test.each<[string, string[], string, boolean]>([
  ["nothing is allowed by default", [], "apps/a.sock", false],
  ["any means addresses, and no sockets", ["any"], "apps/a.sock", false],
  ["an address range means no sockets", ["0.0.0.0/0", "::/0", "localhost"], "apps/a.sock", false],
  ["a socket is allowed by its path", ["unix:ROOT/apps/a.sock"], "apps/a.sock", true],
  ["beside none too", ["none", "unix:ROOT/apps/a.sock"], "apps/a.sock", true],
  ["another spelling of the path is the same", ["unix:ROOT//apps/./a.sock"], "./apps//a.sock", true],
  ["another socket is not", ["unix:ROOT/apps/a.sock"], "other/a.sock", false],
  ["a path is a whole one", ["unix:ROOT/apps/a"], "apps/a.sock", false],
  ["a directory without a slash is none", ["unix:ROOT/apps"], "apps/a.sock", false],
  ["a directory stands for what is in it", ["unix:ROOT/apps/"], "apps/a.sock", true],
  ["and for all beneath", ["unix:ROOT/apps/"], "apps/deep/a.sock", true],
  ["and for nothing beside it", ["unix:ROOT/apps/"], "other/a.sock", false],
  ["nor for what only begins alike", ["unix:ROOT/app/"], "apps/a.sock", false],
  ["rules add up", ["unix:ROOT/none.sock", "unix:ROOT/other/"], "other/a.sock", true],
])("%s", async (_said, rules, path, allowed) => {
  const root = await places();
  const consent = parseAllowRules(rules.map((rule) => rule.replace("ROOT", root)));
  const verdict = consent.judgeSocket(`${root}/${path}`);
  expect(verdict).toEqual({ allowed, path: allowed ? join(root, path) : `${root}/${path}` });
});

test("a link within an allowed directory leads to what is allowed, or nowhere", async () => {
  const root = await places();
  await symlink(join(root, "apps/deep/a.sock"), join(root, "apps/inside.sock"));
  await symlink(join(root, "other/a.sock"), join(root, "apps/outside.sock"));
  await symlink(join(root, "other"), join(root, "apps/elsewhere"));
  const consent = parseAllowRules([`unix:${root}/apps/`]);
  expect(consent.judgeSocket(join(root, "apps/inside.sock"))).toEqual({
    allowed: true,
    path: join(root, "apps/deep/a.sock"),
  });
  const outside = { allowed: false, path: join(root, "other/a.sock") };
  expect(consent.judgeSocket(join(root, "apps/outside.sock"))).toEqual(outside);
  expect(consent.judgeSocket(join(root, "apps/elsewhere/a.sock"))).toEqual(outside);
});

test("a path that is allowed by itself does not stand for what it is a link to", async () => {
  const root = await places();
  await symlink(join(root, "other/a.sock"), join(root, "apps/link.sock"));
  const link = `unix:${root}/apps/link.sock`;
  expect(parseAllowRules([link]).judgeSocket(join(root, "apps/link.sock")).allowed).toBe(false);
});

test("links on the way to what the rule names are the owner's own", async () => {
  const root = await places();
  await symlink(join(root, "apps"), join(root, "run"));
  for (const rule of [`unix:${root}/run/`, `unix:${root}/run/a.sock`]) {
    expect(parseAllowRules([rule]).judgeSocket(join(root, "run/a.sock"))).toEqual({
      allowed: true,
      path: join(root, "apps/a.sock"),
    });
  }
});

test("whether a path exists is told only of what is allowed", async () => {
  const root = await places();
  const consent = parseAllowRules([`unix:${root}/apps/`]);
  const missing = join(root, "other/missing.sock");
  expect(consent.judgeSocket(missing)).toEqual({ allowed: false, path: missing });
  expect(() => consent.judgeSocket(join(root, "apps/missing.sock"))).toThrow(
    expect.objectContaining({ code: "ENOENT", syscall: "realpath" }),
  );
});

test("a socket that the user typed is allowed, wherever it leads, and nothing else", () => {
  const consent = consentTo({ path: "/run/app.sock" });
  expect(consent.judgeSocket("/run/app.sock")).toEqual({ allowed: true, path: "/run/app.sock" });
  expect(consent.judgeSocket("/run/docker.sock").allowed).toBe(false);
  expect(consent.allows("127.0.0.1", 80)).toBe(false);
  expect(consentTo({ host: "localhost", port: 80 }).judgeSocket("/run/app.sock").allowed).toBe(false);
});

test.each([
  "unix:",
  "unix:/",
  "unix:///",
  "unix:run/app.sock",
  "unix:any",
  "unix:*",
  "unix:/run/../etc/",
  "unix:80",
])("--allow %s is none", (rule) => {
  expect(() => parseAllowRules([rule])).toThrow(`--allow ${rule}: expected unix:/run/app.sock`);
});
