import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import tls from "node:tls";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeAll, expect, test } from "vitest";
import { dial, type Dialled, type DialOptions } from "../../../client/connection/dial.ts";
import { spkiPin } from "../../../link/access-key.ts";
import { TunnelError } from "../../../link/errors.ts";
import { type Authority, type Identity, makeAuthority, makeCertificate } from "../../support/certificates.ts";

const SECRET = "the secret of the key";

let authority: Authority;
let pinned: Identity;
let pin: Buffer;
const toClose: (() => unknown)[] = [];

beforeAll(async () => {
  authority = await makeAuthority();
  pinned = await makeCertificate({ names: ["culvert"] });
  pin = spkiPin(pinned.cert);
});

afterEach(async () => {
  for (const close of toClose.splice(0).toReversed()) await close();
});

// First, since Node.js gives such a warning once a process.
test("Node.js finds nothing to warn of when an address is dialled", async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): unknown => warnings.push(warning);
  process.on("warning", onWarning);
  toClose.push(() => process.off("warning", onWarning));
  const withIp = await makeCertificate({ authority, ips: ["127.0.0.1"] });
  const [byPin, byAuthority] = [await startGrpc(pinned), await startGrpc(withIp)];
  await call(await tryDial({ host: "127.0.0.1", port: byPin.port, pin }));
  await call(await tryDial({ host: "127.0.0.1", port: byAuthority.port, ca: authority.cert }));
  expect(warnings).toEqual([]);
});

test("a server with the pinned certificate is dialled, by name and by address, and gets the call", async () => {
  const server = await startGrpc(pinned);
  for (const host of ["localhost", "127.0.0.1"]) {
    const dialled = await tryDial({ host, port: server.port, pin });
    expect(dialled.address).toMatch(new RegExp(`^(ipv4:127\\.0\\.0\\.1|ipv6:\\[::1\\]):${server.port}$`));
    expect(await call(dialled)).toBe(`hello ${SECRET}`);
  }
});

test("an IPv6 address is dialled in brackets", async () => {
  const server = await startGrpc(pinned, "[::1]");
  const dialled = await tryDial({ host: "::1", port: server.port, pin });
  expect(dialled).toMatchObject({ address: `ipv6:[::1]:${server.port}` });
  expect(await call(dialled)).toBe(`hello ${SECRET}`);
});

test("for a pinned key the pin alone decides: not dates, not names, not who signed", async () => {
  for (const odd of [
    await makeCertificate({ names: ["elsewhere.example"], fromDays: -3, toDays: -2 }),
    await makeCertificate({ names: ["elsewhere.example"], fromDays: 2, toDays: 3 }),
    await makeCertificate({ authority, names: ["elsewhere.example"] }),
  ]) {
    const server = await startGrpc(odd);
    const dialled = await tryDial({ host: "127.0.0.1", port: server.port, pin: spkiPin(odd.cert) });
    expect(await call(dialled)).toBe(`hello ${SECRET}`);
  }
});

test("a server with another key than the pinned one is refused before it hears anything", async () => {
  // Otherwise impeccable: right name, right dates, signed by a trusted authority.
  const server = await startGrpc(await makeCertificate({ authority, ips: ["127.0.0.1"] }));
  const error = await refusal({ host: "127.0.0.1", port: server.port, pin, ca: authority.cert });
  expect(error.code).toBe("certificate");
  expect(error.message).toContain(`127.0.0.1:${server.port}`);
  expect(error.message).toContain("not the one in the access key");
  expect(error.message).toContain("a new access key is needed");
  expect(server.heard).toEqual([]);
});

test("whoever swaps the certificate between the first look and the gRPC connection hears nothing", async () => {
  const [right, wrong] = [await startGrpc(pinned), await startGrpc(await makeCertificate())];
  const middle = await startMiddle(right.port);
  const dialled = await tryDial({ host: "127.0.0.1", port: middle.port, pin });
  middle.turnTo(wrong.port);
  await expect(call(dialled)).rejects.toMatchObject({
    code: grpc.status.UNAVAILABLE,
    details: expect.stringContaining("not the one in the access key"),
  });
  expect(middle.connections).toBeGreaterThan(1);
  expect([...right.heard, ...wrong.heard]).toEqual([]);
});

test("the same holds where authorities vouch for the server", async () => {
  const right = await startGrpc(await makeCertificate({ authority }));
  const wrong = await startGrpc(await makeCertificate());
  const middle = await startMiddle(right.port);
  const dialled = await tryDial({ host: "localhost", port: middle.port, ca: authority.cert });
  middle.turnTo(wrong.port);
  await expect(call(dialled)).rejects.toMatchObject({ details: expect.stringContaining("not trusted") });
  expect([...right.heard, ...wrong.heard]).toEqual([]);
});

test("without a pin a certificate of a trusted authority for this name is enough", async () => {
  const server = await startGrpc(
    await makeCertificate({ authority, names: ["localhost"], ips: ["127.0.0.1"] }),
  );
  for (const host of ["localhost", "127.0.0.1"]) {
    expect(await call(await tryDial({ host, port: server.port, ca: authority.cert }))).toBe(
      `hello ${SECRET}`,
    );
  }
});

test("the server's name can differ from the host that is dialled", async () => {
  const server = await startGrpc(await makeCertificate({ authority, names: ["tunnel.example.com"] }));
  const target = { host: "127.0.0.1", port: server.port, ca: authority.cert };
  expect(await call(await tryDial({ ...target, serverName: "tunnel.example.com" }))).toBe(`hello ${SECRET}`);
  expect((await refusal(target)).message).toContain("--server-name");
});

test.each<[string, Parameters<typeof makeCertificate>[0], string[]]>([
  ["has expired", { fromDays: -3, toDays: -2 }, ["expired", "clock"]],
  ["is not valid yet", { fromDays: 2, toDays: 3 }, ["not valid yet", "clock"]],
  [
    "is for another name",
    { names: ["other.example"] },
    ["not made out to localhost", "other.example", "--server-name"],
  ],
])(
  "without a pin a certificate that %s is refused, and the message says so",
  async (_what, options, words) => {
    const server = await startGrpc(await makeCertificate({ authority, ...options }));
    const error = await refusal({ host: "localhost", port: server.port, ca: authority.cert });
    expect(error.code).toBe("certificate");
    for (const word of words) expect(error.message).toContain(word);
    expect(server.heard).toEqual([]);
  },
);

test.each([
  ["of itself", () => makeCertificate()],
  ["of an unknown authority", async () => makeCertificate({ authority: await makeAuthority() })],
])("without a pin a certificate %s is not trusted", async (_what, certificate) => {
  const server = await startGrpc(await certificate());
  for (const ca of [undefined, authority.cert]) {
    const error = await refusal({ host: "localhost", port: server.port, ca });
    expect(error.code).toBe("certificate");
    expect(error.message).toContain("not trusted");
    expect(error.message).toContain("--ca");
  }
  expect(server.heard).toEqual([]);
});

test("a server without TLS is dialled when that is meant", async () => {
  const server = await startGrpc();
  const dialled = await tryDial({ host: "127.0.0.1", port: server.port, plaintext: true });
  expect(await call(dialled)).toBe(`hello ${SECRET}`);
});

test("TLS against a server that speaks none asks whether this is the gRPC port, and never to give up the pin", async () => {
  const server = await startGrpc();
  const error = await refusal({ host: "127.0.0.1", port: server.port, pin });
  expect(error.code).toBe("unreachable");
  expect(error.message).toContain(
    "answers, but not with TLS: check that this is the gRPC port of tunnel-server",
  );
  expect(error.message).not.toContain("--plaintext");
  const unpinned = await refusal({ host: "127.0.0.1", port: server.port });
  expect(unpinned.message).toContain("pass --plaintext only for a server with grpc.tls: off");
  expect(server.heard).toEqual([]);
});

test("plaintext against a server that expects TLS says to leave out --plaintext", async () => {
  const server = await startGrpc(pinned);
  const error = await refusal({ host: "127.0.0.1", port: server.port, plaintext: true });
  expect(error.code).toBe("unreachable");
  expect(error.message).toContain("leave out --plaintext");
  expect(server.heard).toEqual([]);
});

test("a key with a pin never travels without TLS", async () => {
  const server = await startGrpc();
  const error = await refusal({ host: "127.0.0.1", port: server.port, plaintext: true, pin });
  expect(error.code).toBe("certificate");
  expect(error.message).toContain("leave out --plaintext");
  expect(server.heard).toEqual([]);
});

test.each([true, false])(
  "the visitors' port is told from the gRPC port (plaintext: %s)",
  async (plaintext) => {
    const port = await startTcp((socket) =>
      socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    );
    const error = await refusal({ host: "127.0.0.1", port, plaintext });
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("check");
    expect(error.message).toContain("port");
  },
);

test("a TLS server that knows no HTTP/2 is told from tunnel-server", async () => {
  const server = tls.createServer({ ...pinned }, (socket) => socket.on("error", () => {}));
  const port = await listen(server);
  const error = await refusal({ host: "127.0.0.1", port, pin });
  expect(error.code).toBe("unreachable");
  expect(error.message).toContain("not HTTP/2");
});

test("a port where nothing listens says what to check", async () => {
  const port = await portOfNobody();
  const error = await refusal({ host: "127.0.0.1", port, pin });
  expect(error.code).toBe("unreachable");
  expect(error.message).toContain(`127.0.0.1:${port} refuses the connection`);
  expect(error.message).toContain("check that tunnel-server runs there");
});

test.each([true, false])(
  "a port that takes the connection and says nothing is given up in time (plaintext: %s)",
  async (plaintext) => {
    const port = await startTcp(() => {});
    const error = await refusal({ host: "127.0.0.1", port, plaintext, timeoutMs: 100 });
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("says nothing");
  },
);

test.each([true, false])("a port that hangs up at once is no riddle (plaintext: %s)", async (plaintext) => {
  const port = await startTcp((socket) => socket.destroy());
  const error = await refusal({ host: "127.0.0.1", port, plaintext });
  expect(error.code).toBe("unreachable");
  expect(error.message).toContain("--plaintext");
});

test("a name without an address says to check the name", async () => {
  const failure = Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" });
  for (const resolve of [() => Promise.reject(failure), () => Promise.resolve([])]) {
    const error = await refusal({ host: "nowhere.example", port: 7000, resolve });
    expect(error.code).toBe("unreachable");
    expect(error.message).toContain("nowhere.example");
    expect(error.message).toContain("check the name");
  }
});

test("DNS that never answers is given up in time", async () => {
  const error = await refusal({
    host: "slow.example",
    port: 7000,
    timeoutMs: 50,
    resolve: () => new Promise(() => {}),
  });
  expect(error.code).toBe("unreachable");
  expect(error.message).toContain("DNS");
});

test("the name is looked up afresh each time", async () => {
  const server = await startGrpc(pinned);
  let lookups = 0;
  const resolve = async (): Promise<string[]> => {
    lookups++;
    return ["127.0.0.1"];
  };
  for (let i = 0; i < 2; i++) await tryDial({ host: "tunnel.example.com", port: server.port, pin, resolve });
  expect(lookups).toBe(2);
});

test("an address that refuses or is silent does not hide one that answers", async () => {
  const server = await startGrpc(pinned);
  const silent = await startTcp(() => {}, "127.0.0.2", server.port);
  expect(silent).toBe(server.port);
  const dialled = await tryDial({
    host: "tunnel.example.com",
    port: server.port,
    pin,
    resolve: async () => ["127.0.0.3", "127.0.0.2", "127.0.0.1"],
  });
  expect(dialled.address).toBe(`ipv4:127.0.0.1:${server.port}`);
});

test("of several addresses' errors, one about the certificate is told", async () => {
  const server = await startGrpc(await makeCertificate());
  const error = await refusal({
    host: "tunnel.example.com",
    port: server.port,
    pin,
    resolve: async () => ["127.0.0.3", "127.0.0.1"],
  });
  expect(error.code).toBe("certificate");
});

test("dialling stops at once when its signal aborts, with the signal's reason", async () => {
  const connected = deferred<void>();
  const port = await startTcp(() => connected.resolve());
  const reason = new Error("the client is stopping");
  const stopping = new AbortController();
  const dialling = tryDial({ host: "127.0.0.1", port, pin, signal: stopping.signal });
  await connected.promise;
  stopping.abort(reason);
  await expect(dialling).rejects.toBe(reason);
  await expect(tryDial({ host: "127.0.0.1", port, pin, signal: stopping.signal })).rejects.toBe(reason);
  const during = new AbortController();
  const looking = tryDial({
    host: "x.example",
    port,
    signal: during.signal,
    resolve: () => new Promise(() => {}),
  });
  during.abort(reason);
  await expect(looking).rejects.toBe(reason);
});

test("closing a channel ends a connection whose TLS is not up", async () => {
  const server = await startGrpc(pinned);
  const middle = await startMiddle(server.port);
  const dialled = await tryDial({ host: "127.0.0.1", port: middle.port, pin });
  const silent = deferred<net.Socket>();
  middle.turnTo(await startTcp((socket) => silent.resolve(socket)));
  const client = new grpc.Client(dialled.address, dialled.credentials, dialled.options);
  const failed = unary(client);
  const socket = await silent.promise;
  const closed = once(socket, "close");
  client.close();
  await expect(failed).rejects.toBeDefined();
  await closed;
});

test("a look leaves no connection behind", async () => {
  const server = await startGrpc(pinned);
  const middle = await startMiddle(server.port);
  await tryDial({ host: "127.0.0.1", port: middle.port, pin });
  await middle.allClosed();
  expect(middle.connections).toBe(1);
});

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve };
}

type Tried = Omit<DialOptions, "signal" | "timeoutMs"> & Partial<Pick<DialOptions, "signal" | "timeoutMs">>;

function tryDial(options: Tried): Promise<Dialled> {
  return dial({ signal: new AbortController().signal, timeoutMs: 10_000, ...options });
}

async function refusal(options: Tried): Promise<TunnelError> {
  const outcome = await tryDial(options).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(TunnelError);
  return outcome as TunnelError;
}

/** A call whose metadata and message both hold what must stay secret. */
async function call(dialled: Dialled): Promise<string> {
  const client = new grpc.Client(dialled.address, dialled.credentials, dialled.options);
  try {
    return await unary(client);
  } finally {
    client.close();
  }
}

const asBuffer = (text: string): Buffer => Buffer.from(text);
const asText = (bytes: Buffer): string => bytes.toString();

function unary(client: grpc.Client): Promise<string> {
  const metadata = new grpc.Metadata();
  metadata.set("secret", SECRET);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest("/test/Say", asBuffer, asText, SECRET, metadata, (error, answer) =>
      error ? reject(error) : resolve(answer!),
    );
  });
}

/** A gRPC server that notes every call's metadata and message. */
async function startGrpc(
  identity?: Identity,
  host = "127.0.0.1",
): Promise<{ port: number; heard: string[] }> {
  const heard: string[] = [];
  const server = new grpc.Server();
  const method = {
    path: "/test/Say",
    requestStream: false,
    responseStream: false,
    requestSerialize: asBuffer,
    requestDeserialize: asText,
    responseSerialize: asBuffer,
    responseDeserialize: asText,
  };
  server.addService(
    { say: method },
    {
      say: (call: grpc.ServerUnaryCall<string, string>, callback: grpc.sendUnaryData<string>) => {
        heard.push(String(call.metadata.get("secret")), call.request);
        callback(null, `hello ${call.request}`);
      },
    },
  );
  const credentials = identity
    ? grpc.ServerCredentials.createSsl(null, [
        { private_key: Buffer.from(identity.key), cert_chain: Buffer.from(identity.cert) },
      ])
    : grpc.ServerCredentials.createInsecure();
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${host}:0`, credentials, (error, port) => (error ? reject(error) : resolve(port)));
  });
  toClose.push(() => server.forceShutdown());
  return { port, heard };
}

async function startTcp(
  onSocket: (socket: net.Socket) => void,
  host = "127.0.0.1",
  port = 0,
): Promise<number> {
  return await listen(
    net.createServer((socket) => {
      socket.on("error", () => {}).resume();
      onSocket(socket);
    }),
    host,
    port,
  );
}

async function listen(server: net.Server, host = "127.0.0.1", port = 0): Promise<number> {
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket) => sockets.add(socket));
  server.listen(port, host);
  await once(server, "listening");
  toClose.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** Passes connections on to a port that can change. */
async function startMiddle(target: number) {
  let to = target;
  let connections = 0;
  const open = new Set<Promise<unknown>>();
  const port = await startTcp((socket) => {
    connections++;
    open.add(once(socket, "close"));
    const onward = net.connect(to, "127.0.0.1");
    onward.on("error", () => socket.destroy()).on("close", () => socket.destroy());
    socket.on("close", () => onward.destroy());
    socket.pipe(onward).pipe(socket);
  });
  return {
    port,
    turnTo: (port: number): void => {
      to = port;
    },
    get connections() {
      return connections;
    },
    allClosed: () => Promise.all(open),
  };
}

async function portOfNobody(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
