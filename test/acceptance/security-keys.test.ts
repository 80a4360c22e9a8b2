import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect } from "vitest";
import { decodeAccessKey, encodeAccessKey } from "../../link/access-key.ts";
import { CLIENT, runProgram, SERVER, startClientProcess, startProgram } from "../support/processes.ts";
import { RawClient, wanted } from "../support/raw-client.ts";
import { acceptance } from "./acceptance.ts";
import { get, ok } from "./messages.ts";
import { makeKey } from "./more-keys.ts";
import { plainWayTo } from "./plain-way.ts";
import type { Tunnel } from "./tunnel.ts";

/** Everything by which the key could be told in text or bytes: the token, and its secret in the usual spellings. */
function tracesOf(token: string): Buffer[] {
  const { secret } = decodeAccessKey(token);
  const spellings = [
    token,
    token.slice("culvert_".length),
    // A part that is all secret, wherever the token is cut.
    token.slice(24, 48),
    secret.toString("hex"),
    secret.toString("hex").toUpperCase(),
    secret.toString("base64").replace(/=+$/, ""),
    secret.toString("base64url"),
    JSON.stringify([...secret]).slice(1, -1),
  ];
  return [secret, ...spellings.map((text) => Buffer.from(text, "latin1"))];
}

function expectNoTrace(token: string, places: Record<string, string | Buffer>): void {
  for (const [place, content] of Object.entries(places)) {
    const bytes = Buffer.from(content as string, "latin1");
    for (const trace of tracesOf(token)) expect([place, bytes.includes(trace)]).toEqual([place, false]);
  }
}

/** Every file below a directory, by its path. */
async function filesIn(directory: string): Promise<Record<string, Buffer>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(
    await Promise.all(paths.map(async (path) => [path, await readFile(path)] as const)),
  );
}

async function keyFile(tunnel: Tunnel, name: string, token: string): Promise<string> {
  const file = join(tunnel.directory, name);
  await writeFile(file, `${token}\n`, { mode: 0o600 });
  return file;
}

/** What `ps` shows of a process, its environment too. */
async function shownBy(pid: number): Promise<Record<string, Buffer>> {
  const names = ["cmdline", "environ", "comm"];
  const read = names.map(async (name) => [name, await readFile(`/proc/${pid}/${name}`)] as const);
  return Object.fromEntries(await Promise.all(read));
}

acceptance(
  "a key is in no log, page, process list or file of either end, but for the file that holds it",
  async ({ tunnel }) => {
    const token = await makeKey(tunnel, "hidden");
    const file = await keyFile(tunnel, "hidden.key", token);
    const dataDir = join(tunnel.directory, "hidden");
    const { port } = tunnel.backend.target;
    const start = (format: string) =>
      startProgram(CLIENT, [
        "http",
        String(port),
        "--subdomain",
        "hidden",
        "--key-file",
        file,
        "--data-dir",
        dataDir,
        "--log-format",
        format,
      ]);
    await using pretty = start("pretty");
    await pretty.printed("serving");
    tunnel.allow(/client offline/);
    await using client = start("json");
    await client.logged("serving");
    tunnel.backend.answer(ok("ok"));
    const pages: Record<string, string> = {};
    for (const host of ["hidden.localhost", "nobody.localhost", "a@b"]) {
      for (const accept of ["text/html", "application/json", "text/plain"]) {
        const visitor = await tunnel.visitor();
        const sent = `GET /?key=k HTTP/1.1\r\nHost: ${host}\r\nAccept: ${accept}\r\nConnection: close\r\n\r\n`;
        if (host === "a@b") visitor.send(sent);
        else visitor.request(sent);
        pages[`the page of ${host} as ${accept}`] = (await visitor.rest()).text;
      }
    }
    const others = await runProgram(SERVER, ["key", "list", "--data-dir", tunnel.directory]);
    const shown = await runProgram(SERVER, ["key", "show", "hidden", "--data-dir", tunnel.directory]);
    const { [file]: _own, ...files } = await filesIn(tunnel.directory);
    expect(Object.keys(files)).toContain(join(tunnel.directory, "keys.json"));
    expectNoTrace(token, {
      ...pages,
      ...files,
      ...(await shownBy(client.pid)),
      "key list": others.output,
      "key show": shown.output,
      "the server's log": tunnel.server.output(),
      "the client's log": client.output(),
      "the client's log for people": pretty.output(),
    });
  },
);

acceptance("a key that is refused is not shown to those who refuse it", async ({ tunnel }) => {
  tunnel.allow(/client refused/);
  const key = decodeAccessKey(tunnel.token);
  const wrong = encodeAccessKey({ ...key, secret: Buffer.from(key.secret.toReversed()) });
  const cut = tunnel.token.slice(0, -3);
  const args = (name: string) => ["http", "1", "--data-dir", join(tunnel.directory, name)];
  const refused = await runProgram(CLIENT, [...args("wrong"), "--key", wrong]);
  expect(refused.code).toBe(3);
  const mistyped = await runProgram(CLIENT, [
    ...args("cut"),
    "--key-file",
    await keyFile(tunnel, "cut.key", cut),
  ]);
  expect(mistyped.code).toBe(3);
  const places: Record<string, string> = { refused: refused.output, mistyped: mistyped.output };
  places["the server's log"] = tunnel.server.output();
  for (const token of [wrong, tunnel.token]) expectNoTrace(token, places);
  expect(Object.values(places).join("")).not.toContain(cut);
});

acceptance("what keys.json has of a key lets nobody in", async ({ tunnel }) => {
  tunnel.allow(/client refused/);
  const { keyId, ...rest } = decodeAccessKey(tunnel.token);
  const { keys } = JSON.parse(await readFile(join(tunnel.directory, "keys.json"), "utf8")) as {
    keys: { id: string; secret_sha256: string }[];
  };
  const { secret_sha256: hash } = keys.find(({ id }) => id === keyId.toString("hex"))!;
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  await using way = await plainWayTo({ host: tunnel.address.host, port: tunnel.server.grpcPort });
  for (const secret of [hash.slice(0, 32), hash.slice(32)]) {
    const token = encodeAccessKey({ ...rest, keyId, secret: Buffer.from(secret, "hex") });
    using client = new RawClient(way.port).hello(token, { wanted: [wanted("thief")] });
    expect((await client.heard.message("refused")).refused.code).toBe("key_refused");
  }
});

describe("files that hold secrets", () => {
  acceptance("are written for their owner alone", async ({ tunnel }) => {
    const files = (await readdir(tunnel.directory)).filter((name) =>
      /^(keys\.json|certificate\.pem|client-id)$/.test(name),
    );
    expect(files).toContain("keys.json");
    expect(files).toContain("certificate.pem");
    for (const name of files)
      expect([name, (await stat(join(tunnel.directory, name))).mode & 0o777]).toEqual([name, 0o600]);
    await makeKey(tunnel, "one-more");
    expect((await stat(join(tunnel.directory, "keys.json"))).mode & 0o777).toBe(0o600);
  });

  acceptance("that every user can read are warned of, by the client", async ({ tunnel }) => {
    tunnel.allow(/client offline/);
    const file = await keyFile(tunnel, "open.key", await makeKey(tunnel, "open"));
    const { port } = tunnel.backend.target;
    for (const [mode, warned] of [
      [0o604, true],
      [0o640, false],
    ] as const) {
      await chmod(file, mode);
      await using client = startProgram(CLIENT, [
        "http",
        String(port),
        "--subdomain",
        "open",
        "--key-file",
        file,
        "--data-dir",
        join(tunnel.directory, "open"),
      ]);
      await client.logged("serving");
      expect([mode, /can read.*chmod 600/.test(client.output())]).toEqual([mode, warned]);
    }
  });

  acceptance("that every user can read are warned of, by the server", async ({ tunnel }) => {
    const secret = decodeAccessKey(tunnel.token).secret.toString("hex");
    const file = join(tunnel.directory, "office.secret");
    const config = join(tunnel.directory, "office.yaml");
    await writeFile(file, secret);
    await writeFile(config, "keys:\n  - { name: office, secret_file: office.secret }\n");
    for (const [mode, warned] of [
      [0o644, true],
      [0o600, false],
    ] as const) {
      await chmod(file, mode);
      const { output } = await runProgram(SERVER, ["check", "--config", config]);
      expect([mode, /can read.*chmod 600/.test(output)]).toEqual([mode, warned]);
      expect(output).not.toContain(secret);
    }
    await writeFile(config, `keys:\n  - { name: office, secret: ${secret} }\n`, { mode: 0o644 });
    const { output } = await runProgram(SERVER, ["check", "--config", config]);
    expect(output).toMatch(/can read.*chmod 600/);
    expect(output).not.toContain(secret);
  });
});

/** A client with a key of its own. */
async function clientWith(tunnel: Tunnel, name: string) {
  const token = await makeKey(tunnel, name);
  const args = ["http", String(tunnel.backend.target.port), "--subdomain", name];
  const start = (key = token) =>
    startClientProcess({ token: key, dataDir: join(tunnel.directory, name), tls: true }, args);
  const client = start();
  await client.logged("serving");
  return { token, client, start };
}

/** A request to another tunnel than the frame's. */
function on(host: string, target = "/", ...fields: string[]): string {
  return get(target, ...fields).replace("app.localhost", host);
}

describe("a revoked key", () => {
  acceptance(
    "ends its clients, an endless download and a WebSocket within seconds, and no others",
    async ({ tunnel }) => {
      tunnel.allow(/client offline|has been revoked|client refused/);
      const { client, start } = await clientWith(tunnel, "revoked");
      tunnel.backend.serve(async ({ target, connection }) => {
        if (target === "/ws")
          await connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
          );
        else await connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        const timer = setInterval(
          () => void connection.send("data: more\n\n").catch(() => clearInterval(timer)),
          20,
        );
        await connection.untilClosed();
        clearInterval(timer);
      });
      const upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
      const victims = [
        await tunnel.request(on("revoked.localhost", "/endless")),
        await tunnel.request(on("revoked.localhost", "/ws", ...upgrade)),
      ];
      const others = [await tunnel.request(get("/endless")), await tunnel.request(get("/ws", ...upgrade))];
      for (const visitor of [...victims, ...others])
        expect([101, 200]).toContain((await visitor.head()).status);
      const { code } = await runProgram(SERVER, ["key", "revoke", "revoked", "--data-dir", tunnel.directory]);
      expect(code).toBe(0);
      const revokedAt = performance.now();
      await Promise.all(victims.map((visitor) => visitor.ended));
      expect(performance.now() - revokedAt).toBeLessThan(3_000);
      expect(await client.exited).toMatchObject({ code: 3 });
      for (const visitor of others) await visitor.bytes(1_000);
      // And it is no key any more.
      await using again = start();
      expect(await again.exited).toMatchObject({ code: 3 });
      for (const visitor of others) visitor.close();
    },
  );

  acceptance(
    "leaves its names to the key that takes its place, as `key show` says to make it",
    async ({ tunnel }) => {
      tunnel.allow(/client offline|has been revoked|client refused/);
      const { client, start } = await clientWith(tunnel, "renewed");
      await runProgram(SERVER, ["key", "revoke", "renewed", "--data-dir", tunnel.directory]);
      expect(await client.exited).toMatchObject({ code: 3 });
      await using successor = start(await makeKey(tunnel, "renewed"));
      await successor.logged("serving");
      tunnel.backend.answer(ok("renewed"));
      const visitor = await tunnel.request(on("renewed.localhost"));
      expect((await visitor.answer()).body.toString()).toBe("renewed");
    },
  );

  acceptance(
    "can overlap with the one that takes its place: two keys for the same hostnames, and then the new one",
    async ({ tunnel }) => {
      tunnel.allow(/client offline|has been revoked|client refused/);
      const rights = { hostnames: ["rotated.test"] };
      const args = ["http", String(tunnel.backend.target.port), "--hostname", "rotated.test"];
      const start = (token: string, dataDir: string) =>
        startClientProcess({ token, dataDir: join(tunnel.directory, dataDir), tls: true }, args);
      tunnel.backend.answer(ok("rotated"));
      const visit = async () => {
        const visitor = await tunnel.request(on("rotated.test"));
        return (await visitor.answer()).status;
      };
      await using before = start(await makeKey(tunnel, "old", rights), "old");
      await before.logged("serving");
      expect(await visit()).toBe(200);
      await using after = start(await makeKey(tunnel, "new", rights), "new");
      await after.logged("serving");
      expect(await visit()).toBe(200);
      await runProgram(SERVER, ["key", "revoke", "old", "--data-dir", tunnel.directory]);
      await before.exited;
      expect(await visit()).toBe(200);
    },
  );
});
