import { type EventEmitter, once } from "node:events";
import http2 from "node:http2";
import { connect, type Socket } from "node:net";
import tls from "node:tls";
import { gzipSync } from "node:zlib";
import { describe, expect, test, vi } from "vitest";
import { linkService } from "../../../link/contract.ts";
import { divideDescriptors } from "../../../runtime/descriptor-budget.ts";
import type { CallCarrier } from "../../../server/grpc/call-carrier.ts";
import { type GrpcServerOptions, startGrpcServer } from "../../../server/grpc/grpc-server.ts";
import { makeCertificate } from "../../support/certificates.ts";

const KIB = 1024;

/** The gRPC port, and those who dial it by hand. */
async function startPort(options: Partial<GrpcServerOptions> = {}) {
  const server = await startGrpcServer({
    host: "127.0.0.1",
    port: 0,
    certificate: undefined,
    onConnection() {},
    ...options,
  });
  const sockets: Socket[] = [];
  const sessions: http2.ClientHttp2Session[] = [];
  return {
    server,
    async dial(): Promise<Socket> {
      const socket = connect(server.port, "127.0.0.1").on("error", () => {});
      sockets.push(socket);
      await once(socket, "connect");
      return socket;
    },
    secure(options: tls.ConnectionOptions): tls.TLSSocket {
      const { port } = server;
      const socket = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
      sockets.push(socket.on("error", () => {}));
      return socket;
    },
    /** A call whose framing can be wrong. */
    call(headers: Record<string, string> = {}) {
      const session = http2.connect(`http://127.0.0.1:${server.port}`).on("error", () => {});
      sessions.push(session);
      return { session, call: callOn(session, headers) };
    },
    [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      for (const session of sessions) session.destroy();
      server.close();
      return Promise.resolve();
    },
  };
}

function callOn(
  session: http2.ClientHttp2Session,
  headers: Record<string, string> = {},
): http2.ClientHttp2Stream {
  const call = session.request({
    ":method": "POST",
    ":path": linkService.Connect.path,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  return call.on("error", () => {});
}

/** Resolves when it has closed, cleanly or not; `once` of node:events would fail with an error. */
function closed(emitter: EventEmitter): Promise<void> {
  return new Promise((resolve) => emitter.once("close", () => resolve()));
}

/** Room for three strangers of one address, and for a client. */
function scarce() {
  return divideDescriptors({
    descriptors: 6,
    shares: { strangers: { guaranteed: 1 / 2, most: 4 }, clients: { guaranteed: 1 / 4, most: 1 } },
    onShort() {},
  });
}

/** A carrier as it comes to the server, read so that bytes keep flowing. */
function reading(carrier: CallCarrier): CallCarrier {
  carrier.receive({ control() {}, data() {}, batchEnd() {}, closed() {} });
  return carrier;
}

function message(bytes: Buffer, compressed = false): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed ? 1 : 0;
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

function batchOf(bytes: number): Buffer {
  return message(linkService.Connect.requestSerialize({ control: [], data: Buffer.alloc(bytes) }));
}

test("a port in use is named, and the option that sets it", async () => {
  await using first = await startPort();
  await expect(startPort({ port: first.server.port })).rejects.toThrow(
    `cannot listen for clients on port ${first.server.port}: it is in use. Set another with grpc.listen`,
  );
});

describe("TCP connections", () => {
  test.each([["without TLS"], ["over TLS"]])(
    "that have shown no key go for new ones, the eldest first, %s",
    async (how) => {
      const secure = how === "over TLS";
      const certificate = secure ? await makeCertificate() : undefined;
      const descriptors = scarce();
      await using port = await startPort({ certificate, descriptors });
      const scheme = secure ? "https" : "http";
      // With an HTTP/2 session, and without.
      const eldest = http2
        .connect(`${scheme}://127.0.0.1:${port.server.port}`, { rejectUnauthorized: false })
        .on("error", () => {});
      await once(eldest, "connect");
      const second = await port.dial();
      const later = [await port.dial(), await port.dial()];
      await closed(eldest);
      later.push(await port.dial());
      await closed(second);
      expect(descriptors.strangers.held).toBe(3);
      expect(later.map(({ destroyed }) => destroyed)).toEqual([false, false, false]);
      for (const socket of later) socket.destroy();
      await vi.waitFor(() => expect(descriptors.strangers.held).toBe(0));
    },
  );

  test("that have shown a key stay, as many as there is room for", async () => {
    const descriptors = scarce();
    const carriers: CallCarrier[] = [];
    await using port = await startPort({
      descriptors,
      onConnection: (carrier) => void carriers.push(reading(carrier)),
    });
    const call = async (): Promise<http2.ClientHttp2Session> => {
      const count = carriers.length + 1;
      const { session } = port.call();
      await vi.waitFor(() => expect(carriers).toHaveLength(count));
      return session;
    };
    const [known, refused] = [await call(), await call()];
    expect(carriers.map((carrier) => carrier.becomeClient())).toEqual([true, false]);
    // A second call of one that is known takes nothing.
    expect(carriers[0]!.becomeClient()).toBe(true);
    const gone = closed(refused);
    for (let i = 0; i < 8; i++) await port.dial();
    await gone;
    await new Promise((resolve, reject) => {
      known.ping((error) => (error ? reject(error) : resolve(undefined)));
    });
    known.destroy();
    await vi.waitFor(() => expect(descriptors.clients.held).toBe(0));
  });

  test("that never finish their TLS handshake are closed, and one that has stays", async () => {
    await using port = await startPort({ certificate: await makeCertificate(), handshakeMs: 100 });
    const whole = http2.connect(`https://127.0.0.1:${port.server.port}`, { rejectUnauthorized: false });
    await once(whole, "connect");
    const silent = await port.dial();
    const half = await port.dial();
    half.write(Buffer.from("16030100c8010000c40303", "hex"));
    await Promise.all([closed(silent), closed(half)]);
    await new Promise((resolve, reject) => {
      whole.ping((error) => (error ? reject(error) : resolve(undefined)));
    });
    expect([silent.bytesRead, half.bytesRead]).toEqual([0, 0]);
    whole.destroy();
  });

  test("in the middle of their TLS handshake end when the server does", async () => {
    await using port = await startPort({ certificate: await makeCertificate(), handshakeMs: 60_000 });
    const half = await port.dial();
    half.write(Buffer.from("16030100c8010000c40303", "hex"));
    // A whole one behind it: the server has the half one by now.
    const whole = port.secure({ ALPNProtocols: ["h2"] });
    await once(whole, "secureConnect");
    port.server.close();
    await Promise.all([closed(half), closed(whole)]);
    expect(half.bytesRead).toBe(0);
  });
});

describe("over TLS", () => {
  const H2 = { ALPNProtocols: ["h2"] };

  test("version 1.3 is spoken with all who can", async () => {
    await using port = await startPort({ certificate: await makeCertificate() });
    const socket = port.secure(H2);
    await once(socket, "secureConnect");
    expect([socket.getProtocol(), socket.alpnProtocol]).toEqual(["TLSv1.3", "h2"]);
    expect(socket.getCipher().name).toBe("TLS_AES_128_GCM_SHA256");
  });

  test.each([
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
  ])("version 1.2 is spoken with %s", async (ciphers) => {
    await using port = await startPort({ certificate: await makeCertificate() });
    const session = http2.connect(`https://127.0.0.1:${port.server.port}`, {
      rejectUnauthorized: false,
      maxVersion: "TLSv1.2",
      ciphers,
    });
    await once(session, "remoteSettings");
    expect((session.socket as tls.TLSSocket).getProtocol()).toBe("TLSv1.2");
    session.destroy();
  });

  test.each<[string, tls.ConnectionOptions]>([
    ["CBC, and SHA-256", { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA256" }],
    ["CBC, and SHA-1", { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES256-SHA" }],
    ["version 1.1", { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }],
    ["no protocol that it knows", { ALPNProtocols: ["http/1.1"] }],
  ])("%s gets an alert", async (_, options) => {
    await using port = await startPort({ certificate: await makeCertificate() });
    const socket = port.secure({ ...H2, ...options });
    const error = new Promise<NodeJS.ErrnoException>((resolve) => socket.once("error", resolve));
    expect((await error).code).toMatch(/^ERR_SSL_.*ALERT/);
  });

  test("a connection that names no protocol ends", async () => {
    await using port = await startPort({ certificate: await makeCertificate() });
    const socket = port.secure({});
    await closed(socket.resume());
    expect(socket.bytesRead).toBe(0);
  });
});

test("a connection that makes one call after the other is cut, however short they are", async () => {
  let calls = 0;
  let arrived: (() => void) | undefined;
  await using port = await startPort({
    onConnection() {
      calls++;
      arrived?.();
    },
  });
  const { session, call: first } = port.call();
  const over = closed(session);
  let call = first;
  for (let made = 1; made <= 64; made++) {
    if (calls < made) await new Promise<void>((resolve) => (arrived = resolve));
    call.close(http2.constants.NGHTTP2_CANCEL);
    call = callOn(session);
  }
  await over;
  // The one that was too many is cut as soon as it is there.
  expect(calls).toBe(65);
});

describe("a call of somebody who is not known yet", () => {
  test("is cut with its connection when it brings more than it may, before its message is whole", async () => {
    await using port = await startPort({ onConnection: (carrier) => reading(carrier).distrust(64 * KIB) });
    const { session, call } = port.call();
    call.write(batchOf(1024 * KIB).subarray(0, 65 * KIB));
    await closed(session);
    expect(call.closed).toBe(true);
  });

  test("shares that with the other calls of its connection", async () => {
    await using port = await startPort({ onConnection: (carrier) => reading(carrier).distrust(64 * KIB) });
    const { session, call } = port.call();
    const other = callOn(session);
    for (const each of [call, other]) each.write(batchOf(1024 * KIB).subarray(0, 40 * KIB));
    await closed(session);
    expect([call.closed, other.closed]).toEqual([true, true]);
  });

  test("may bring what it likes from the moment on that it is known", async () => {
    const received: number[] = [];
    let bytes = 0;
    let look: (() => void) | undefined;
    await using port = await startPort({
      onConnection(carrier) {
        carrier.distrust(64 * KIB);
        carrier.receive({
          control() {},
          data(slice) {
            bytes += slice.length;
          },
          batchEnd() {
            received.push(bytes);
            bytes = 0;
            carrier.trust();
            // Nothing takes that back.
            carrier.distrust(1);
            look?.();
          },
          closed() {},
        });
      },
    });
    const batches = (count: number) =>
      new Promise<void>((resolve) => {
        look = () => received.length === count && resolve();
        look?.();
      });
    const { call } = port.call();
    call.write(message(Buffer.from([0x0a, 0x02, 0x0a, 0x00])));
    await batches(1);
    call.write(batchOf(1024 * KIB));
    call.write(batchOf(KIB));
    await batches(3);
    expect(received).toEqual([0, 1024 * KIB, KIB]);
  });

  test.each([
    ["read beneath grpc-js", true],
    ["read by grpc-js", false],
  ])("may say Hello and nothing else, %s", async (_, direct) => {
    const heard: string[] = [];
    let over: (() => void) | undefined;
    await using port = await startPort({
      direct,
      onConnection(carrier) {
        carrier.distrust(64 * KIB);
        carrier.receive({
          control: (messages) => heard.push(...messages.map(({ message }) => message)),
          data: () => heard.push("data"),
          batchEnd() {},
          closed: (error) => {
            heard.push(`${error?.code}`);
            over?.();
          },
        });
      },
    });
    const hello = Buffer.from([0x0a, 0x02, 0x0a, 0x00]);
    const open = Buffer.from([0x0a, 0x04, 0x42, 0x02, 0x08, 0x02]);
    const mayNot = [Buffer.concat([open, open]), Buffer.concat([hello, open]), batchOf(1).subarray(5)];
    for (const bytes of mayNot) {
      const end = new Promise<void>((resolve) => (over = resolve));
      port.call().call.write(message(bytes));
      await end;
    }
    expect(heard).toEqual(["protocol", "hello", "protocol", "protocol"]);
  });

  test("is refused when it compresses: 16 KiB of it were gigabytes", async () => {
    let batches = 0;
    await using port = await startPort({
      onConnection: (carrier) =>
        carrier.receive({ control() {}, data() {}, batchEnd: () => batches++, closed() {} }),
    });
    const { call } = port.call({ "grpc-encoding": "gzip" });
    call.write(message(gzipSync(batchOf(KIB).subarray(5)), true));
    await closed(call);
    expect(call.rstCode).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
    expect(batches).toBe(0);
  });
});
