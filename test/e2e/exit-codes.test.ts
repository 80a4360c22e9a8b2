import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeAccessKey, encodeAccessKey } from "../../link/access-key.ts";
import { startLocalWeb, type LocalWeb } from "../support/local-web.ts";
import { CLIENT, runProgram, SERVER, startProgram, type Program } from "../support/processes.ts";
import { RawClient, wanted } from "../support/raw-client.ts";
import { RawServer, welcome } from "../support/raw-server.ts";
import {
  http,
  startTestClient,
  startTestServer,
  type TestClient,
  type TestServer,
} from "../support/tunnel-ends.ts";

let server: TestServer;
let web: LocalWeb;
let token: string;
let other: TestClient;
/** Tests run beside each other, so it is one for all of them; each takes a directory in it. */
let root: string;
let onHeld: (response: ServerResponse) => void = () => {};
/** Everything that programs have printed, and every key that they have seen. */
const outputs: (() => string)[] = [];
const tokens: string[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "culvert-exit-codes-"));
  web = await startLocalWeb((request, response) => {
    if (request.url === "/held") onHeld(response.writeHead(200, { "Content-Length": 100 }));
    else response.end("served");
    if (request.url === "/held") response.write("the beginning");
  });
  server = await startTestServer({ settled: true });
  token = await server.addKey();
  const otherToken = await server.addKey({ name: "other", hostnames: ["theirs.example.com"] });
  other = startTestClient(otherToken, { tunnels: [http(web.port, "theirs")] });
  tokens.push(token, otherToken);
  await other.online();
});
afterAll(async () => {
  await other[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await web[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

function freshDirectory(): Promise<string> {
  return mkdtemp(join(root, "d-"));
}

async function startClient(args: string[], dataDir?: string, env?: NodeJS.ProcessEnv): Promise<Program> {
  const program = startProgram(CLIENT, [...args, "--data-dir", dataDir ?? (await freshDirectory())], { env });
  outputs.push(program.output);
  return program;
}

/** A client that is expected to end by itself. */
async function outcome(
  args: string[],
  env?: NodeJS.ProcessEnv,
): Promise<{ code: number | null; output: string }> {
  await using client = await startClient(args, undefined, env);
  const { code } = await client.exited;
  return { code, output: client.output() };
}

function lastLine(output: string): string {
  return output.trimEnd().split("\n").at(-1)!;
}

describe("a client ends", () => {
  test("with 3 where the server does not know the key", async () => {
    const unknown = encodeAccessKey({
      keyId: randomBytes(8),
      secret: randomBytes(16),
      host: "127.0.0.1",
      port: server.grpcPort,
    });
    tokens.push(unknown);
    const { code, output } = await outcome(["--key", unknown, "--plaintext"]);
    expect(code).toBe(3);
    expect(output).toContain("The server does not know this access key");
  });

  test.concurrent.each<[string, (token: string) => string]>([
    ["its last letter is missing", (token) => token.slice(0, -1)],
    ["its end is missing", (token) => token.slice(0, 40)],
    [
      "a letter is wrong",
      (token) => `${token.slice(0, 30)}${token[30] === "x" ? "y" : "x"}${token.slice(31)}`,
    ],
  ])("with 3 where the key is mistyped: %s", async (_name, mistype) => {
    const { code, output } = await outcome(["--key", mistype(token), "--plaintext"]);
    expect(code).toBe(3);
    expect(output).toContain("incomplete or mistyped");
  });

  test("with 3 soon after its key was revoked, its visitors cut off", async () => {
    const revoked = await server.addKey({ name: "short-lived" });
    tokens.push(revoked);
    await using client = await startClient([
      "http",
      String(web.port),
      "--subdomain",
      "brief",
      "--plaintext",
      "--key",
      revoked,
    ]);
    await client.logged("serving");
    const reached = new Promise<ServerResponse>((resolve) => {
      onHeld = resolve;
    });
    const visit = server.visit("/held", { host: "brief.localhost" });
    visit.catch(() => {});
    await reached;
    const done = await runProgram(SERVER, ["key", "revoke", "short-lived", "--data-dir", server.dataDir]);
    const startMs = performance.now();
    expect(done.code).toBe(0);
    await expect(visit).rejects.toMatchObject({ code: "ECONNRESET" });
    expect((await client.exited).code).toBe(3);
    expect(performance.now() - startMs).toBeLessThan(4_000);
    expect(client.output()).toContain("has been revoked");
    expect((await server.visit("/", { host: "brief.localhost" })).status).toBe(404);
    // And it stays out.
    expect((await outcome(["--key", revoked, "--plaintext"])).code).toBe(3);
  });

  test.concurrent.each<[string, string[], RegExp]>([
    [
      "another key's client holds the name",
      ["--subdomain", "theirs"],
      /theirs\.localhost is taken by another key/,
    ],
    ["another key owns the hostname", ["--hostname", "theirs.example.com"], /may not use the hostname/],
    [
      "the key has no right to the hostname",
      ["--hostname", "app.example.com"],
      /Add it to the key's hostnames/,
    ],
    ["the key has no right to every name", ["--hostname", "*"], /may not use the hostname \*/],
    ["the name is none", ["--subdomain", "a.b"], /cannot be used/],
  ])("with 4 where %s", async (_name, flags, said) => {
    const { code, output } = await outcome([
      "http",
      String(web.port),
      ...flags,
      "--plaintext",
      "--key",
      token,
    ]);
    expect(code).toBe(4);
    expect(output).toMatch(said);
  });

  test("with 4 where the key alone is given and the server maps nothing to it", async () => {
    const { code, output } = await outcome(["--plaintext", "--key", token]);
    expect(code).toBe(4);
    expect(output).toContain("tunnel-client http PORT");
  });

  test("with 5 where a second client takes its name over, which then serves", async () => {
    const args = ["http", String(web.port), "--subdomain", "app", "--plaintext", "--key", token];
    await using first = await startClient(args);
    await first.logged("serving");
    await using second = await startClient(args);
    await second.logged("serving");
    expect((await first.exited).code).toBe(5);
    expect(first.output()).toContain("Another client has taken over these tunnels with the same key.");
    expect((await server.visit("/")).text).toBe("served");
    expect(second.child.exitCode).toBeNull();
  });

  test("not at all where a second one of the same machine asks for another name", async () => {
    const dataDir = await freshDirectory();
    const args = ["http", String(web.port), "--plaintext", "--key", token];
    await using first = await startClient([...args, "--subdomain", "one"], dataDir);
    await first.logged("serving");
    await using second = await startClient([...args, "--subdomain", "two"], dataDir);
    await second.logged("serving");
    expect((await server.visit("/", { host: "one.localhost" })).text).toBe("served");
    expect((await server.visit("/", { host: "two.localhost" })).text).toBe("served");
    expect([first.child.exitCode, second.child.exitCode]).toEqual([null, null]);
  });

  test("with 6 where the server speaks another version of the protocol", async () => {
    await using newer = await RawServer.start((call, _hello, number) => {
      if (number > 1) return call.say([welcome([], { protocol: 2 })]);
      call.say([{ message: "refused", refused: { code: "version", message: "Update the client." } }]);
      call.call.end();
    });
    const args = ["--key", token, "--plaintext", "--server", `127.0.0.1:${newer.port}`];
    const refused = await outcome(args);
    expect(refused.code).toBe(6);
    expect(refused.output).toContain("Update the client.");
    const welcomed = await outcome(args);
    expect(welcomed.code).toBe(6);
    expect(welcomed.output).toContain("Update tunnel-client");
  });

  test.concurrent.each<[string, string[], string]>([
    ["an option is unknown", ["--no-such-option"], "--no-such-option"],
    ["there is no key", [], "an access key is needed"],
    ["there are two keys", ["--key", "a", "--key-file", "b"], "not both"],
    ["the key's file is missing", ["--key-file", "/nowhere/key"], "/nowhere/key"],
    [
      "a tunnel has two names",
      ["http", "1", "--subdomain", "a", "--hostname", "b", "--key", "KEY"],
      "not both",
    ],
    ["a command is none", ["tpc", "22", "--key", "KEY"], 'unknown command. Did you mean "tcp"?'],
    ["a key stands in the place of a command", ["KEY"], "unknown command. Known here: http, tcp, udp, tls"],
    [
      "a target of bytes has a scheme",
      ["tcp", "https://nas", "--key", "KEY"],
      "without https:// since the bytes pass untouched",
    ],
    [
      "ports and target do not fit",
      ["udp", "1-2", "--port", "1-3", "--key", "KEY"],
      "--port: expected 2 ports, as many as the target has",
    ],
    ["an option is another command's", ["tls", "443", "--port", "443", "--key", "KEY"], "--port"],
    ["a target is none", ["http", "everywhere", "--key", "KEY"], "everywhere"],
    ["a rule is none", ["--allow", "all", "--allow", "10.0.0.0/33", "--key", "KEY"], "10.0.0.0/33"],
    ["the server's address is none", ["--server", "a b", "--key", "KEY"], "a b"],
    ["the authority's file is missing", ["--ca", "/nowhere/ca", "--key", "KEY"], "/nowhere/ca"],
  ])("with 2 where %s", async (_name, args, said) => {
    const { code, output } = await outcome(args.map((arg) => (arg === "KEY" ? token : arg)));
    expect(code).toBe(2);
    expect(output).toContain(said);
  });

  test("with its reason as the log is written: in JSON, or for people", async () => {
    const pretty = await outcome(["--key", "none", "--log-format", "pretty"]);
    expect(lastLine(pretty.output)).toMatch(/^tunnel-client: this is not an access key/);
    const json = await outcome(["--key", "none", "--log-format", "json"]);
    expect(JSON.parse(lastLine(json.output))).toMatchObject({
      level: "error",
      exitCode: 3,
      code: "key_malformed",
      message: expect.stringContaining("this is not an access key"),
    });
  });

  test("with 2 where an option is misspelt, whose value is not shown", async () => {
    for (const arg of [`--kye=${token}`, "--prxoy=http://clerk:hunter2@192.0.2.1"]) {
      const { code, output } = await outcome([arg]);
      expect(code).toBe(2);
      expect(output).toContain(`unknown option '${arg.split("=")[0]}=******'`);
      expect(output).not.toMatch(/hunter2|culvert_\w{20}/);
    }
  });

  test("with 2 where HTTPS_PROXY or --proxy names no HTTP proxy, whose password is not shown", async () => {
    const password = randomBytes(12).toString("hex");
    const proxy = `socks5://clerk:${password}@192.0.2.1:1080`;
    const args = ["--key", token, "--server", "192.0.2.2:7000"];
    for (const [name, { code, output }] of [
      ["HTTPS_PROXY", await outcome(args, { HTTPS_PROXY: proxy })],
      ["--proxy", await outcome([...args, "--proxy", proxy])],
    ] as const) {
      expect(code).toBe(2);
      expect(output).toContain(`${name}: expected an HTTP proxy such as http://proxy.example.com:3128`);
      expect(output).toContain("socks5:// proxies are not supported");
      expect(output).not.toContain(password);
    }
  });

  test("with 2 where its config has mistakes, all of them listed with their lines", async () => {
    const file = join(await freshDirectory(), "client.yaml");
    await writeFile(
      file,
      [
        "sever: example.com:7000",
        "allow: [10.0.0.0/33]",
        "tunnels:",
        "  - { type: ftp, target: 1 }",
        "",
      ].join("\n"),
    );
    const { code, output } = await outcome(["--config", file]);
    expect(code).toBe(2);
    expect(output).toMatch(/client\.yaml:1:1 +sever/);
    expect(output).toMatch(/client\.yaml:2:\d+/);
    expect(output).toMatch(/client\.yaml:4:\d+/);
  });
});

describe("a server ends", () => {
  test.concurrent.each<[string, string[], string]>([
    ["an option is unknown", ["--no-such-option"], "--no-such-option"],
    ["an address is none", ["--http-listen", "here"], "here"],
    ["a command is none", ["chekc"], 'unknown command. Did you mean "check"?'],
    ["its config is missing", ["--config", "/nowhere/config.yaml"], "/nowhere/config.yaml"],
  ])("with 2 where %s", async (_name, args, said) => {
    const { code, output } = await runProgram(SERVER, args);
    expect(code).toBe(2);
    expect(output).toContain(said);
  });

  test("with 2 where its config has mistakes, all of them listed, and nothing started", async () => {
    const directory = await freshDirectory();
    const file = join(directory, "config.yaml");
    await writeFile(
      file,
      [
        "http: { prot: 80, listen: '127.0.0.1:0' }",
        "grpc: { tls: maybe }",
        "keys:",
        "  - { name: home, secret: short }",
        "  - { name: home, secret: abcdefghijklmnopqrstuvwxyz }",
      ].join("\n"),
    );
    const { code, output } = await runProgram(SERVER, [
      "--config",
      file,
      "--data-dir",
      join(directory, "data"),
    ]);
    expect(code).toBe(2);
    for (const line of [1, 2, 4, 5]) expect(output).toContain(`config.yaml:${line}:`);
    expect(output).not.toContain("abcdefghijklmnopqrstuvwxyz");
    expect(output).not.toContain("listening");
  });

  test.concurrent.each([
    ["--http-listen", "http.listen"],
    ["--grpc-listen", "grpc.listen"],
  ])("with 1 where the port of %s is in use, which the message names", async (flag, option) => {
    const free = flag === "--http-listen" ? "--grpc-listen" : "--http-listen";
    const { code, output } = await runProgram(SERVER, [
      flag,
      `127.0.0.1:${web.port}`,
      free,
      "127.0.0.1:0",
      "--data-dir",
      await freshDirectory(),
    ]);
    expect(code).toBe(1);
    expect(output).toContain(option);
    expect(output).toContain(String(web.port));
    expect(output).toContain("in use");
  });
});

test("a key cannot be made where no server has ever started", async () => {
  const directory = join(await freshDirectory(), "nothing");
  const { code, output } = await runProgram(SERVER, [
    "key",
    "create",
    "--name",
    "a",
    "--data-dir",
    directory,
  ]);
  expect(code).not.toBe(0);
  expect(output).toContain(directory);
  expect(output).not.toContain("culvert_");
});

test.each<[string, { protocolMin: number; protocolMax: number }, RegExp]>([
  ["newer", { protocolMin: 2, protocolMax: 3 }, /Update the server/],
  ["older", { protocolMin: 0, protocolMax: 0 }, /Update the client/],
])("a client of a %s version is refused, and told who must be updated", async (_name, range, said) => {
  using client = new RawClient(server.grpcPort).hello(token, { ...range, wanted: [wanted("versions")] });
  const { refused } = await client.heard.message("refused");
  expect(refused.code).toBe("version");
  expect(refused.message).toMatch(said);
});

test("a client that speaks newer versions too is welcomed in ours", async () => {
  using client = new RawClient(server.grpcPort).hello(token, {
    protocolMax: 9,
    wanted: [wanted("versions")],
  });
  expect((await client.welcomed()).protocol).toBe(1);
});

test("nothing that the programs above said holds a key, or its secret", () => {
  const said = [
    ...outputs.map((output) => output()),
    ...server.log.lines.map((line) => JSON.stringify(line)),
    ...other.log.lines.map((line) => JSON.stringify(line)),
  ].join("\n");
  expect(said.length).toBeGreaterThan(1_000);
  for (const token of tokens) {
    const { secret } = decodeAccessKey(token);
    // The secret's letters stand in the middle of the token.
    for (const trace of [
      token.slice(20, 36),
      secret.toString("hex"),
      secret.toString("base64").slice(0, -2),
    ]) {
      expect(said).not.toContain(trace);
    }
  }
});
