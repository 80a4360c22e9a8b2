import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");

/** What edges may share. */
const EVERY_EDGE = [
  "server/edge/hold.ts",
  "server/edge/request-id.ts",
  "server/edge/reset-probe.ts",
  "server/edge/seldom-warning.ts",
  "server/routing",
  "link",
  "runtime",
];

/** Which folders, or files, the files of a folder may import from; the longest prefix that fits a file counts. */
const ALLOWED: Record<string, string[]> = {
  runtime: ["runtime"],
  link: ["link", "runtime"],
  server: ["server", "link", "runtime"],
  "server/edge": EVERY_EDGE,
  "server/edge/http": ["server/edge/http", ...EVERY_EDGE],
  "server/edge/tcp": ["server/edge/tcp", ...EVERY_EDGE],
  "server/edge/udp": ["server/edge/udp", ...EVERY_EDGE],
  "server/grpc": ["server/grpc", "link", "runtime"],
  "server/sessions": [
    "server/sessions",
    "server/routing",
    "server/access",
    "server/store",
    "link",
    "runtime",
  ],
  "server/access": ["server/access", "server/store", "server/routing", "link", "runtime"],
  "server/routing": ["server/routing", "link", "runtime"],
  "server/store": ["server/store", "server/routing", "link", "runtime"],
  client: ["client", "link", "runtime"],
  "client/connection": ["client/connection", "link", "runtime"],
  "client/local": ["client/local", "link", "runtime"],
};

/** Which folders may import a package; packages that are not listed here may be imported anywhere. */
const PACKAGES: Record<string, string[]> = {
  "@grpc/grpc-js": ["link", "server/grpc", "client/connection"],
  "@grpc/proto-loader": ["link"],
  yaml: ["runtime"],
  commander: ["runtime", "server", "client"],
  "@peculiar/x509": ["server/grpc"],
};

test("imports go only in the directions that ARCHITECTURE.md draws", () => {
  const wrong: string[] = [];
  for (const file of sourceFiles()) {
    const allowed = ALLOWED[longestPrefix(Object.keys(ALLOWED), file)!]!;
    for (const imported of importsOf(file)) {
      if (!imported.startsWith(".")) continue;
      const target = relative(ROOT, join(ROOT, dirname(file), imported));
      if (!allowed.some((folder) => isIn(folder, target))) wrong.push(`${file} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("packages are imported only where they belong", () => {
  const wrong: string[] = [];
  for (const file of sourceFiles()) {
    for (const imported of importsOf(file)) {
      const folders = PACKAGES[imported];
      if (folders && !folders.some((folder) => isIn(folder, file))) wrong.push(`${file} imports ${imported}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("every source folder is drawn in ARCHITECTURE.md", () => {
  const text = readFileSync(join(ROOT, "ARCHITECTURE.md"), "utf8");
  const names = new Set(sourceFiles().map((file) => `${dirname(file).split("/").pop()}/`));
  expect([...names].filter((name) => !text.includes(name))).toEqual([]);
});

function sourceFiles(): string[] {
  return ["runtime", "link", "server", "client"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => join(folder, name)),
  );
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]!);
}

function longestPrefix(folders: string[], file: string): string | undefined {
  return folders.filter((folder) => isIn(folder, file)).toSorted((a, b) => b.length - a.length)[0];
}

function isIn(folder: string, file: string): boolean {
  return file === folder || file.startsWith(`${folder}/`);
}
