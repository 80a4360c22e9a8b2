import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { encodeAccessKey } from "../../link/access-key.ts";
import type { TunnelError } from "../../link/errors.ts";
import { configKeyId, configKeySecret } from "../../server/access/config-key.ts";
import { startLocalWeb, saying } from "../support/local-web.ts";
import { runProgram, SERVER, startClientProcess } from "../support/processes.ts";
import { RawClient, wanted } from "../support/raw-client.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { http, mapped, startTestClient, startTestServer } from "../support/tunnel-ends.ts";

const MINUTE_MS = 60_000;

test("the key alone serves what the server maps to it, by hostname, by subdomain and whatever no other name takes", async () => {
  await using app = await startLocalWeb(saying("app"));
  await using rest = await startLocalWeb(saying("rest"));
  await using server = await startTestServer();
  const token = await server.addKey({
    mapped: [
      mapped("app", "app.example.com", `127.0.0.1:${app.port}`),
      mapped("sub", "sub.localhost", `localhost:${app.port}`),
      mapped("rest", "*", `127.0.0.1:${rest.port}`),
    ],
  });
  await using client = startClientProcess({ token, dataDir: await temporaryDirectory() }, []);
  await client.logged("serving", 3);
  const texts = await Promise.all(
    ["app.example.com", "APP.Example.COM.", "sub.localhost", "other.example.com", "127.0.0.1"].map(
      async (host) => (await server.visit("/", { host })).text,
    ),
  );
  expect(texts).toEqual(["app", "app", "app", "rest", "rest"]);
  // And prints what that exposes.
  expect(client.output()).toContain(`127.0.0.1:${rest.port}`);
});

test('a name of its own comes before "*", and goes back to nobody else when its client has left', async () => {
  await using rest = await startLocalWeb(saying("rest"));
  await using own = await startLocalWeb(saying("own"));
  await using server = await startTestServer();
  await using wildcard = startTestClient(await server.addKey({ name: "rest", hostnames: ["*"] }), {
    tunnels: [{ kind: "HTTP", hostname: "*", target: { host: "127.0.0.1", port: rest.port } }],
  });
  await wildcard.online();
  const host = "own.localhost";
  expect((await server.visit("/", { host })).text).toBe("rest");
  const client = startTestClient(await server.addKey({ name: "own" }), { tunnels: [http(own.port, "own")] });
  await client.online();
  expect((await server.visit("/", { host })).text).toBe("own");
  await client.client.stop(1_000);
  expect((await server.visit("/", { host })).status).toBe(503);
});

test("a name is kept for its key for ten minutes after its client has left", async () => {
  let nowMs = 0;
  await using web = await startLocalWeb(saying("first"));
  await using server = await startTestServer({ tuning: { now: () => nowMs } });
  const startMs = (nowMs = 11 * MINUTE_MS);
  const mine = await server.addKey({ name: "mine" });
  const theirs = await server.addKey({ name: "theirs" });
  const options = { tunnels: [http(web.port, "app")] };

  const first = startTestClient(mine, options);
  await first.online();
  await first.client.stop(1_000);
  nowMs = startMs + 10 * MINUTE_MS;
  expect(await server.visit("/")).toMatchObject({ status: 503, headers: { "retry-after": "10" } });
  expect(await startTestClient(theirs, options).ended).toMatchObject({ code: "name_refused" });
  // For its own key it is free at any time, from another machine too, and the ten minutes begin anew.
  const again = startTestClient(mine, { ...options, clientId: "another-machine" });
  await again.online();
  expect((await server.visit("/")).text).toBe("first");
  await again.client.stop(1_000);

  nowMs = startMs + 20 * MINUTE_MS + 1;
  expect((await server.visit("/")).status).toBe(404);
  await using taker = startTestClient(theirs, options);
  await taker.online();
  expect(await startTestClient(mine, options).ended).toMatchObject({ code: "name_refused" });
});

test("a client gets all the names that it asks for, or none", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ settled: true });
  await using holder = startTestClient(await server.addKey({ name: "holder" }), {
    tunnels: [http(web.port, "b")],
  });
  await holder.online();
  const greedy = startTestClient(await server.addKey({ name: "greedy" }), {
    tunnels: [http(web.port, "a"), http(web.port, "b"), http(web.port, "c")],
  });
  expect(await greedy.ended).toMatchObject({ code: "name_refused" });
  for (const name of ["a", "c"])
    expect((await server.visit("/", { host: `${name}.localhost` })).status).toBe(404);
  expect((await server.visit("/", { host: "b.localhost" })).text).toBe("served");
});

test("a client that takes over one of two names ends the session that held both", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer();
  const token = await server.addKey();
  const both = startTestClient(token, { tunnels: [http(web.port, "a"), http(web.port, "b")] });
  await both.online();
  await using one = startTestClient(token, { tunnels: [http(web.port, "b")] });
  await one.online();
  expect(await both.ended).toMatchObject({ code: "replaced", exitCode: 5 });
  expect((await server.visit("/", { host: "a.localhost" })).status).toBe(503);
  expect((await server.visit("/", { host: "b.localhost" })).text).toBe("served");
});

test("the same name twice in one client is refused, in whatever letters", async () => {
  await using server = await startTestServer();
  const client = startTestClient(await server.addKey(), {
    tunnels: [
      http(1, "app"),
      { kind: "HTTP", hostname: "APP.localhost.", target: { host: "127.0.0.1", port: 1 } },
    ],
  });
  const error = (await client.ended) as TunnelError;
  expect(error).toMatchObject({ code: "name_refused" });
  expect(error.message).toContain("asked for twice");
});

test("a tunnel without a name has one that stays, for this client and port", async () => {
  await using server = await startTestServer();
  const token = await server.addKey();
  const first = await temporaryDirectory();
  const urlOf = async (dataDir: string, port: string): Promise<string> => {
    await using client = startClientProcess({ token, dataDir }, ["http", port]);
    const { url } = await client.logged("serving");
    client.kill("SIGTERM");
    await client.exited;
    return url as string;
  };
  const [url, elsewhere] = [await urlOf(first, "3000"), await urlOf(await temporaryDirectory(), "3000")];
  expect(url).toMatch(new RegExp(`^http://[a-z0-9]{8}\\.localhost:${server.httpPort}/$`));
  expect(await urlOf(first, "3000")).toBe(url);
  expect(await urlOf(first, "3001")).not.toBe(url);
  expect(elsewhere).not.toBe(url);
});

describe("in a half-configured world", () => {
  test("a tunnel for whatever no other name takes has an address that can be opened", async () => {
    await using web = await startLocalWeb(saying("served"));
    await using server = await startTestServer();
    const token = await server.addKey({ hostnames: ["*"] });
    await using client = startTestClient(token, {
      tunnels: [{ kind: "HTTP", hostname: "*", target: { host: "127.0.0.1", port: web.port } }],
    });
    await client.online();
    const { url } = await client.log.logged("serving");
    expect(url).toBe(`http://localhost:${server.httpPort}/`);
    const { host } = new URL(url as string);
    expect((await server.visit("/", { host })).text).toBe("served");
  });

  test("subdomains live under the domain of the config, and nowhere else", async () => {
    await using web = await startLocalWeb(saying("served"));
    await using server = await startTestServer({
      config: (config) => {
        config.http.domain = "tunnel.example.com";
      },
    });
    await using client = startTestClient(await server.addKey(), { tunnels: [http(web.port, "app")] });
    await client.online();
    expect((await client.log.logged("serving"))["url"]).toBe(
      `http://app.tunnel.example.com:${server.httpPort}/`,
    );
    const status = async (host: string): Promise<number> => (await server.visit("/", { host })).status;
    expect(await status("app.tunnel.example.com")).toBe(200);
    expect(await status(`APP.tunnel.example.com:${server.httpPort}`)).toBe(200);
    for (const host of [
      "tunnel.example.com",
      "app.localhost",
      "app.example.com",
      "app.tunnel.example.com.evil.com",
      "xapp.tunnel.example.com",
      "x.app.tunnel.example.com",
      "app",
    ]) {
      expect([host, await status(host)]).toEqual([host, 404]);
    }
  });

  test.each(["tunnel.example.com", "a.b.tunnel.example.com", "example.com", "*.tunnel.example.com", "*"])(
    "the hostname %s is no subdomain, and needs a right of the key's",
    async (hostname) => {
      await using server = await startTestServer({
        config: (config) => {
          config.http.domain = "tunnel.example.com";
        },
      });
      using client = new RawClient(server.grpcPort).hello(await server.addKey(), {
        wanted: [wanted("", { hostname })],
      });
      expect((await client.heard.message("refused")).refused.code).toBe("name_refused");
    },
  );

  test("two keys of one config cannot list the same hostname", async () => {
    const directory = await temporaryDirectory();
    const file = join(directory, "config.yaml");
    await writeFile(
      file,
      [
        "keys:",
        "  - { name: a, secret: aaaaaaaaaaaaaaaaaaaaaaaaaa, hostnames: [app.example.com] }",
        "  - { name: b, secret: bbbbbbbbbbbbbbbbbbbbbbbbbb, hostnames: [APP.example.com.] }",
      ].join("\n"),
    );
    const { code, output } = await runProgram(SERVER, ["check", "--config", file]);
    expect(code).toBe(2);
    expect(output).toMatch(/config\.yaml:3:\d+ +keys\[1\]\.hostnames\[0\]: .*taken by keys\[0\]/);
  });

  test("a hostname that is written to a key of the config and to one of keys.json goes from one's client to the other's", async () => {
    await using web = await startLocalWeb(saying("successor"));
    const host = "app.example.com";
    await using server = await startTestServer({
      config: (config) => {
        config.keys = [{ name: "config", secret: "a".repeat(26), hostnames: [host], tunnels: [] }];
      },
    });
    const tunnels = [
      { kind: "HTTP" as const, hostname: host, target: { host: "127.0.0.1", port: web.port } },
    ];
    await using before = startTestClient(
      encodeAccessKey({
        keyId: configKeyId("config"),
        secret: configKeySecret("a".repeat(26)),
        host: "127.0.0.1",
        port: server.grpcPort,
      }),
      { tunnels },
    );
    await before.online();
    await using after = startTestClient(await server.addKey({ name: "stored", hostnames: [host] }), {
      tunnels,
    });
    await after.online();
    expect(await before.ended).toMatchObject({ code: "replaced" });
    expect((await server.visit("/", { host })).text).toBe("successor");
  });

  test("a hostname that the config maps is offline until its client comes, and not unknown", async () => {
    await using server = await startTestServer();
    await server.addKey({ mapped: [mapped("app", "app.example.com", "127.0.0.1:1")] });
    // The server takes new keys over when somebody says Hello, and twice a second.
    using stranger = new RawClient(server.grpcPort).hello(await server.addKey({ name: "other" }));
    await stranger.heard.message("refused");
    expect((await server.visit("/", { host: "app.example.com" })).status).toBe(503);
    expect((await server.visit("/", { host: "example.com" })).status).toBe(404);
  });
});

test("a wildcard takes the names beneath it that nobody else has, and the closest of several does", async () => {
  await using wide = await startLocalWeb(saying("wide"));
  await using close = await startLocalWeb(saying("close"));
  await using own = await startLocalWeb(saying("own"));
  await using server = await startTestServer();
  const token = await server.addKey({
    mapped: [
      mapped("wide", "*.example.com", `127.0.0.1:${wide.port}`),
      mapped("close", "*.shop.example.com", `127.0.0.1:${close.port}`),
      mapped("own", "own.shop.example.com", `127.0.0.1:${own.port}`),
    ],
  });
  await using client = startTestClient(token);
  await client.online();
  const saidBy = async (host: string) => (await server.visit("/", { host })).text;
  expect(await saidBy("a.example.com")).toBe("wide");
  expect(await saidBy("A.B.Example.com.:80")).toBe("wide");
  expect(await saidBy("x.shop.example.com")).toBe("close");
  expect(await saidBy("own.shop.example.com")).toBe("own");
  expect((await server.visit("/", { host: "example.com" })).status).toBe(404);
  expect((await server.visit("/", { host: "badexample.com" })).status).toBe(404);
  client.cut();
  await server.log.logged("client offline");
  expect((await server.visit("/", { host: "a.example.com" })).status).toBe(503);
});

test("a request waits for a client that is coming back, and is served by it", async () => {
  await using web = await startLocalWeb(saying("back"));
  await using server = await startTestServer();
  const token = await server.addKey();
  await using first = startTestClient(token, { tunnels: [http(web.port, "app")] });
  await first.online();
  first.cut();
  await server.log.logged("client offline");
  const waiting = server.visit("/");
  // It is in the server's hands before the client is back.
  await server.visit("/", { host: "nobody.localhost" });
  await using second = startTestClient(token, { tunnels: [http(web.port, "app")] });
  await second.online();
  expect(await waiting).toMatchObject({ status: 200, text: "back" });
});

test("a request waits for the client of a mapped tunnel when the server has just started, and no longer than it may", async () => {
  await using server = await startTestServer({
    config(config) {
      config.http.holdMs = 50;
      const tunnel = mapped("app", "app.localhost", "127.0.0.1:1");
      config.keys = [{ name: "home", secret: "x".repeat(22), hostnames: [], tunnels: [tunnel] }];
    },
  });
  expect((await server.visit("/")).status).toBe(503);
  const [line] = server.log.lines.filter(({ message }) => message === "request");
  expect(line!["durationMs"]).toBeGreaterThanOrEqual(50);
});
