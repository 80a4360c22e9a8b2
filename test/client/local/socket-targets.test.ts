import { once } from "node:events";
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { consentTo, parseAllowRules } from "../../../client/local/consent.ts";
import { dialFailure } from "../../../client/local/dial-failure.ts";
import { LocalService } from "../../../client/local/local-service.ts";
import { RawConnection, type Script } from "../../support/raw-backend.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";
import { failure, Replay, visit } from "./replay.ts";
import { answering } from "./tls-service.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

interface SocketService extends AsyncDisposable {
  server: Server;
  connections: RawConnection[];
}

async function listenAt(path: string, script: Script = answering(OK)): Promise<SocketService> {
  const connections: RawConnection[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const connection = new RawConnection(socket);
    const index = connections.push(connection) - 1;
    void (async () => script(connection, index))().catch(() => {});
  });
  server.listen(path);
  await once(server, "listening");
  return {
    server,
    connections,
    async [Symbol.asyncDispose]() {
      for (const { socket } of connections) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** As for a target that the user typed. */
function typed(path: string): LocalService {
  return new LocalService({ target: { path }, consent: consentTo({ path }) });
}

/** As for a target that the server names. */
function named(path: string, ...allow: string[]): LocalService {
  return new LocalService({ target: { path }, consent: parseAllowRules(allow) });
}

/** How a visit to this path fails, in words. */
async function said(path: string): Promise<string> {
  const { failure: code, detail } = await failure(typed(path));
  return `${code}: ${detail!.replace(`unix:${path} `, "")}`;
}

async function socketPath(): Promise<string> {
  return join(await temporaryDirectory(), "app.sock");
}

test("requests reach a UNIX socket, with bodies, and take a used connection where they may", async () => {
  const path = await socketPath();
  await using backend = await listenAt(path);
  const local = typed(path);
  for (let i = 0; i < 3; i++) {
    expect((await visit(local, { fields: ["Host: \xe9"] })).body).toBe("ok");
    while (local.idle < 1) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(backend.connections).toHaveLength(1);
  await visit(local, { method: "POST", body: "\xffbody" });
  const [first, second] = backend.connections;
  expect(first!.text).toContain("Host: \xe9\r\n");
  await second!.until(() => second!.text.endsWith("\xffbody\r\n0\r\n\r\n"));
});

test("an upgrade passes bytes both ways over a UNIX socket, and half-closes", async () => {
  const path = await socketPath();
  await using backend = await listenAt(path, async (connection) => {
    await connection.head();
    await connection.send("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nlast");
    connection.end();
  });
  const fields = ["Host: a", "Connection: Upgrade", "Upgrade: x"];
  const { stream, finished } = new Replay(typed(path), { fields, streaming: true });
  expect(await finished).toMatchObject({ status: 101 });
  await stream.until(() => stream.ended);
  expect(stream.body.toString()).toBe("last");
  stream.feed("still here");
  stream.finish();
  await backend.connections[0]!.untilEnded();
  expect(backend.connections[0]!.text).toMatch(/\r\n\r\nstill here$/);
  expect(stream.wasReset).toBeUndefined();
});

test("a service that refuses an upload and closes behind its answer is still heard", async () => {
  const path = await socketPath();
  await using _backend = await listenAt(path, async (connection) => {
    connection.pause();
    await connection.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    connection.close();
  });
  const local = typed(path);
  for (let i = 0; i < 50; i++) {
    const replay = new Replay(local, { method: "POST", streaming: true });
    const upload = replay.stream.feedAll(Buffer.alloc(1024 * 1024));
    expect(await replay.answer()).toMatchObject({ status: 413, body: "big" });
    await replay.stream.until(() => replay.stream.over);
    await upload;
  }
});

test("a server may name a socket that is allowed, and no other", async () => {
  const path = await socketPath();
  await using backend = await listenAt(path);
  expect((await visit(named(path, `unix:${path}`))).body).toBe("ok");
  expect((await visit(named(path, "none", `unix:${join(path, "..")}/`))).body).toBe("ok");
  const reached = backend.connections.length;
  for (const allow of [[], ["any"], [`unix:${path}.other`]]) {
    expect(await failure(named(path, ...allow))).toMatchObject({
      failure: "NOT_ALLOWED",
      detail: `this client is not allowed to dial unix:${path}; only --allow unix:PATH lets a server name a socket`,
    });
  }
  expect(backend.connections).toHaveLength(reached);
});

test("where a path leads is looked at anew for each connection, and the server is not told", async () => {
  const root = await temporaryDirectory();
  await mkdir(join(root, "apps"));
  const secret = join(root, "docker.sock");
  await using backend = await listenAt(
    secret,
    answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
  );
  const path = join(root, "apps/app.sock");
  const local = named(path, `unix:${root}/apps/`);
  expect(await failure(local)).toMatchObject({ failure: "REFUSED" });
  await using allowed = await listenAt(path);
  expect((await visit(local, { method: "POST" })).body).toBe("ok");
  await rm(path);
  await symlink(secret, path);
  const replay = new Replay(local, { method: "POST" });
  expect(await replay.finished).toMatchObject({
    failure: "NOT_ALLOWED",
    detail: expect.stringContaining(`(${secret})`),
  });
  expect(replay.stream.wasReset?.detail).not.toContain(secret);
  expect(backend.connections).toHaveLength(0);
  expect(allowed.connections).toHaveLength(1);
});

test("a client whose user typed a link follows it", async () => {
  const path = await socketPath();
  await using _backend = await listenAt(path);
  await symlink(path, `${path}.link`);
  expect((await visit(typed(`${path}.link`))).body).toBe("ok");
});

test("each way not to reach a socket is said in its own words, and told from the others", async () => {
  const directory = await temporaryDirectory();
  const at = (name: string): string => join(directory, name);
  await writeFile(at("file"), "");
  await mkdir(at("locked"));
  {
    await using _backend = await listenAt(at("used"));
    // Gone without a trace of it being closed, as after a crash.
    await rename(at("used"), at("left"));
  }
  expect(await said(at("missing"))).toBe("REFUSED: does not exist; does the service run?");
  expect(await said(at("left"))).toBe("REFUSED: refuses connections; does the service run?");
  expect(await said(at("file"))).toBe("UNREACHABLE: cannot be reached: it is no socket");
  expect(await said(at("file/app.sock"))).toBe(
    "UNREACHABLE: cannot be reached: a part of the path is not a directory",
  );
  await symlink(at("loop"), at("loop"));
  expect(await said(at("loop"))).toBe("UNREACHABLE: cannot be reached: too many symbolic links");
});

test.each([
  ["EACCES", "UNREACHABLE", "cannot be reached: permission denied for the client's user"],
  ["EPROTOTYPE", "UNREACHABLE", "cannot be reached: it is a socket for datagrams"],
  ["EAGAIN", "UNREACHABLE", "cannot be reached: more connections wait for the service than it lets wait"],
  ["ENOTSOCK", "UNREACHABLE", "cannot be reached: it is no socket"],
])("a connect that fails with %s is told", (code, reset, words) => {
  const error = Object.assign(new Error("connect"), { code, syscall: "connect" });
  expect(dialFailure(error, { path: "/run/app.sock" })).toMatchObject({
    code: reset,
    detail: `unix:/run/app.sock ${words}`,
  });
});
