import { once } from "node:events";
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { connect as connectToServer } from "../../../client/connection/connect.ts";
import { linkService } from "../../../link/contract.ts";
import { UnreadBudget } from "../../../link/unread-budget.ts";
import { startGrpcServer } from "../../../server/grpc/grpc-server.ts";
import { WINDOW_BYTES } from "../../../server/grpc/http2-windows.ts";
import { makeCertificate } from "../../support/certificates.ts";

const MIB = 1024 * 1024;

// What http2-windows.ts reaches for is private to grpc-js: when these fail behind an update, it has to find another way.
describe.each([
  ["with TLS", true],
  ["without TLS", false],
])("the gRPC port %s", (_, tls) => {
  test("says that a call, and a connection, may have 16 MiB unread", async () => {
    await using port = await startPort(tls);
    const session = await port.connect();
    await vi.waitFor(() => expect(session.remoteSettings.initialWindowSize).toBe(WINDOW_BYTES));
    await vi.waitFor(() => expect(session.state.remoteWindowSize).toBe(WINDOW_BYTES));
  });

  test("takes 15 MiB of a call that nobody reads, and no 18", async () => {
    await using port = await startPort(tls);
    const session = await port.connect();
    const call = session.request({
      ":method": "POST",
      ":path": linkService.Connect.path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    call.on("error", () => {});
    const batch = linkService.Connect.requestSerialize({ control: [], data: Buffer.alloc(MIB) });
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(batch.length, 1);
    let taken = -1;
    const go = (): void => {
      taken++;
      if (taken < 20) call.write(Buffer.concat([prefix, batch]), go);
    };
    go();
    await vi.waitFor(() => expect(taken).toBeGreaterThanOrEqual(15));
    await new Promise((resolve) => session.ping(resolve));
    // One is read ahead.
    expect(taken).toBeLessThan(18);
  });
});

test("the client lets a server send 16 MiB unread, for a call and for the connection", async () => {
  const server = http2.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = new AbortController();
  const connecting = connectToServer({
    unreadBudget: new UnreadBudget(),
    server: {
      key: {
        keyId: Buffer.alloc(8),
        secret: Buffer.alloc(16),
        host: "127.0.0.1",
        port: (server.address() as AddressInfo).port,
      },
      plaintext: true,
    },
    clientId: "test",
    sessionToken: "",
    wanted: [],
    signal: cut.signal,
    handler: { opened() {}, message() {}, closed() {} },
  });
  connecting.catch(() => {});
  const session = await calledSession(server);
  await vi.waitFor(() => expect(session.remoteSettings.initialWindowSize).toBe(WINDOW_BYTES));
  await vi.waitFor(() => expect(session.state.remoteWindowSize).toBe(WINDOW_BYTES));
  cut.abort();
  session.destroy();
  server.close();
});

/** The connection on which the first call comes; a client may look at the port before that. */
function calledSession(server: http2.Http2Server): Promise<http2.ServerHttp2Session> {
  return new Promise((resolve) => {
    server.on("stream", (stream: http2.ServerHttp2Stream) => {
      stream.on("error", () => {});
      resolve(stream.session as http2.ServerHttp2Session);
    });
  });
}

/** The server's gRPC port, with a handler that takes calls and reads nothing of them. */
async function startPort(
  tls: boolean,
): Promise<AsyncDisposable & { connect(): Promise<http2.ClientHttp2Session> }> {
  const certificate = tls ? await makeCertificate() : undefined;
  const server = await startGrpcServer({ host: "127.0.0.1", port: 0, certificate, onConnection() {} });
  const sessions: http2.ClientHttp2Session[] = [];
  return {
    async connect() {
      const session = http2.connect(`${tls ? "https" : "http"}://127.0.0.1:${server.port}`, {
        rejectUnauthorized: false,
        // As grpc-js has it, so that nothing but the windows holds the sender back.
        maxSessionMemory: Number.MAX_SAFE_INTEGER,
      });
      session.on("error", () => {});
      sessions.push(session);
      await once(session, "connect");
      return session;
    },
    [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      server.close();
      return Promise.resolve();
    },
  };
}
