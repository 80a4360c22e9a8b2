import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { dial, type DialOptions } from "../../../client/connection/dial.ts";
import { parseProxy, type HttpProxy } from "../../../client/connection/http-proxy.ts";
import { TunnelError } from "../../../link/errors.ts";
import { VERSION } from "../../../runtime/version.ts";
import { passOn, passOnTogether, startFakeProxy } from "../../support/fake-proxy.ts";
import { saying, startLocalWeb } from "../../support/local-web.ts";
import { http, startTestClient, startTestServer } from "../../support/tunnel-ends.ts";

test.each([
  ["http://proxy.example.com:3128", { host: "proxy.example.com", port: 3128 }],
  ["HTTP://Proxy.Example.com:3128/", { host: "proxy.example.com", port: 3128 }],
  ["http://proxy.example.com", { host: "proxy.example.com", port: 80 }],
  ["proxy.example.com:3128", { host: "proxy.example.com", port: 3128 }],
  ["localhost:3128", { host: "localhost", port: 3128 }],
  ["proxy", { host: "proxy", port: 80 }],
  ["10.0.0.1:3128", { host: "10.0.0.1", port: 3128 }],
  ["http://[2001:db8::1]:3128", { host: "2001:db8::1", port: 3128 }],
  ["http://me:pass@proxy:3128", { host: "proxy", port: 3128, credentials: "me:pass" }],
  ["me:pass@proxy:3128", { host: "proxy", port: 3128, credentials: "me:pass" }],
  ["http://me@proxy:3128", { host: "proxy", port: 3128, credentials: "me:" }],
  ["http://@proxy:3128", { host: "proxy", port: 3128 }],
  ["http://a%40b:p%3A%2F%23%25@proxy:3128", { host: "proxy", port: 3128, credentials: "a@b:p:/#%" }],
  ["http://me:p@ss@proxy:3128", { host: "proxy", port: 3128, credentials: "me:p@ss" }],
  ["http://m%C3%BC:gr%C3%BCn@proxy:3128", { host: "proxy", port: 3128, credentials: "mü:grün" }],
])("%s is a proxy", (text, proxy) => {
  expect(parseProxy(text)).toEqual(proxy);
});

test.each([
  ["https://me:hidden@proxy:3128", "https:// proxies are not supported"],
  ["socks5://me:hidden@proxy:1080", "socks5:// proxies are not supported"],
  ["socks5h://hidden:1080", "socks5h:// proxies are not supported"],
  ["http://", "expected an HTTP proxy such as http://proxy.example.com:3128"],
  ["", "expected an HTTP proxy"],
  ["3128", "expected an HTTP proxy"],
  [":3128", "expected an HTTP proxy"],
  ["http://hidden:0", "expected an HTTP proxy"],
  ["http://hidden:99999", "expected an HTTP proxy"],
  ["http://me:hid/den@proxy:3128", "/ # stand as"],
  ["http://me:hid#den@proxy:3128", "/ # stand as"],
  ["http://me:12/hidden@proxy:3128", "with no path"],
  ["http://me:12#hidden@proxy:3128", "with no path"],
  ["http://me:12?hidden@proxy:3128", "with no path"],
  ["http://DOMAIN\\me:hidden@proxy:3128", "with no path"],
  ["http://me:hidden%@proxy:3128", "%25"],
  ["http://me%3Ayou:hidden@proxy:3128", "%3A"],
  ["http://me:hidden%0D%0AX@proxy:3128", "expected an HTTP proxy"],
  ["http://two words:hidden@proxy:3128:1", "expected an HTTP proxy"],
])("%s is none, and the message shows none of it", (text, words) => {
  const problem = parseProxy(text);
  expect(problem).toContain(words);
  expect(problem).not.toContain("hid");
});

test.each(["auto", "off"] as const)("a tunnel is served through a proxy (TLS: %s)", async (tls) => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ tls });
  await using middle = await startFakeProxy((socket) => passOn(socket, server.grpcPort));
  // Nobody listens there: what the proxy makes of it decides.
  await using client = startTestClient(await server.addKey(), {
    port: 9,
    proxy: { ...middle.proxy, credentials: "mü:grün:1" },
    tunnels: [http(web.port, "app")],
  });
  await client.online();
  expect((await server.visit("/")).text).toBe("served");
  expect(new Set(middle.requests)).toEqual(
    new Set([
      "CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n" +
        `User-Agent: tunnel-client/${VERSION}\r\n` +
        `Proxy-Authorization: Basic ${Buffer.from("mü:grün:1").toString("base64")}\r\n\r\n`,
    ]),
  );
  expect(client.log.lines.find(({ message }) => message === "online")).toMatchObject({
    server: "127.0.0.1:9",
    proxy: `127.0.0.1:${middle.proxy.port}`,
  });
  expect(JSON.stringify(client.log.lines)).not.toContain("grün");
});

test("what the server says right behind the proxy's answer is not lost", async () => {
  await using web = await startLocalWeb(saying("served"));
  await using server = await startTestServer({ tls: "off" });
  await using middle = await startFakeProxy((socket) => passOnTogether(socket, server.grpcPort));
  await using client = startTestClient(await server.addKey(), {
    proxy: middle.proxy,
    tunnels: [http(web.port, "app")],
  });
  await client.online();
  expect((await server.visit("/")).text).toBe("served");
});

test("a proxy that leads to another server than the key's is found out, on each connection anew", async () => {
  await using right = await startTestServer({ tls: "auto" });
  await using wrong = await startTestServer({ tls: "auto" });
  const token = await right.addKey();
  for (const firstWrong of [1, 2]) {
    await using middle = await startFakeProxy((socket, count) =>
      passOn(socket, count < firstWrong ? right.grpcPort : wrong.grpcPort),
    );
    await using client = startTestClient(token, { proxy: middle.proxy });
    expect(await client.log.logged("offline; trying again")).toMatchObject({
      reason: expect.stringContaining("the server's certificate is not the one in the access key") as unknown,
    });
  }
});

test("the proxy's name is looked up, the server's is not", async () => {
  await using middle = await startFakeProxy((socket) => socket.end("HTTP/1.1 503 No\r\n\r\n"));
  const asked: string[] = [];
  const resolve = async (name: string): Promise<string[]> => {
    asked.push(name);
    return ["127.0.0.1"];
  };
  const proxy = { ...middle.proxy, host: "proxy.example.com" };
  const error = await refusal({ host: "tunnel.example.com", port: 7000, proxy, resolve });
  expect(asked).toEqual(["proxy.example.com"]);
  expect(middle.requests[0]).toContain("CONNECT tunnel.example.com:7000 HTTP/1.1\r\n");
  expect(error.message).toBe(
    `the proxy proxy.example.com:${proxy.port} (from HTTPS_PROXY) cannot connect to tunnel.example.com:7000 (503): check that name and port, and that tunnel-server runs there`,
  );
  const unknown = await refusal({ proxy, resolve: () => Promise.reject(new Error("ENOTFOUND")) });
  expect(unknown.message).toContain(
    `the address of the proxy proxy.example.com:${proxy.port} (from HTTPS_PROXY) cannot be found (ENOTFOUND)`,
  );
});

test("an IPv6 address stands in brackets, the server's and the proxy's", async () => {
  await using middle = await startFakeProxy((socket) => socket.end("HTTP/1.1 502 No\r\n\r\n"), "::1");
  const error = await refusal({ host: "2001:db8::7", port: 7000, proxy: middle.proxy });
  expect(middle.requests[0]).toMatch(
    /^CONNECT \[2001:db8::7\]:7000 HTTP\/1.1\r\nHost: \[2001:db8::7\]:7000\r\n/,
  );
  expect(error.message).toContain(
    `the proxy [::1]:${middle.proxy.port} (from HTTPS_PROXY) cannot connect to`,
  );
  expect(error.message).toContain("[2001:db8::7]:7000 (502)");
});

const BASIC = 'Proxy-Authenticate: Basic realm="office"\r\n';
test.each<[string, string, string | undefined, string]>([
  [
    "wants a sign-in",
    `407 Sign in\r\n${BASIC}`,
    undefined,
    "asks for a sign-in (407): put user:password in its URL",
  ],
  [
    "wants a sign-in and does not say which",
    "407 Sign in\r\n",
    undefined,
    "asks for a sign-in (407): put user:password in its URL",
  ],
  [
    "refuses the password",
    `407 Sign in\r\n${BASIC}`,
    "me:hidden",
    "refuses the user and password in its URL (407)",
  ],
  [
    "refuses the password with 401",
    "401 No\r\n",
    "me:hidden",
    "refuses the user and password in its URL (401)",
  ],
  [
    "knows other sign-ins only",
    "407 Sign in\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n",
    "me:hidden",
    "asks for a sign-in by Negotiate or NTLM (407), but tunnel-client knows Basic only",
  ],
  [
    "knows several sign-ins",
    `407 Sign in\r\nProxy-Authenticate: NTLM\r\n${BASIC}`,
    undefined,
    "asks for a sign-in (407): put user:password",
  ],
  [
    "forbids it",
    "403 Forbidden\r\n",
    "me:hidden",
    "does not allow a connection to tunnel.example.com:7000 (403)",
  ],
  ["finds nobody", "500 Unable to connect\r\n", undefined, "cannot connect to tunnel.example.com:7000 (500)"],
  [
    "has waited too long",
    "504 Gateway Timeout\r\n",
    undefined,
    "cannot connect to tunnel.example.com:7000 (504)",
  ],
  [
    "is a web server",
    "405 Method Not Allowed\r\n",
    undefined,
    "answers CONNECT with status 405: check that an HTTP",
  ],
  ["sends elsewhere", "302 Found\r\nLocation: http://a/\r\n", undefined, "answers CONNECT with status 302"],
])("a proxy that %s is named, with what to do", async (_what, answer, credentials, words) => {
  await using middle = await startFakeProxy((socket) =>
    socket.end(`HTTP/1.1 ${answer}Content-Length: 2\r\n\r\nno`),
  );
  const error = await refusal({
    proxy: { ...middle.proxy, ...(credentials !== undefined && { credentials }) },
  });
  expect(error.code).toBe("unreachable");
  expect(error.message).toContain(`the proxy 127.0.0.1:${middle.proxy.port} (from HTTPS_PROXY) ${words}`);
  expect(inspect(error, { depth: 9 })).not.toMatch(/hidden|bWU6aGlkZGVu/);
});

test.each<[string, (socket: Socket) => void, string]>([
  ["closes at once", (socket) => socket.destroy(), "closes the connection without an answer"],
  ["resets", (socket) => socket.resetAndDestroy(), "closes the connection without an answer"],
  [
    "closes within its answer",
    (socket) => socket.end("HTTP/1.1 200 OK\r\nVia: a"),
    "closes the connection without",
  ],
  ["speaks something else", (socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n"), "answers, but not in HTTP"],
  ["speaks TLS", (socket) => socket.write(Buffer.of(0x15, 3, 3, 0, 2, 2, 22)), "answers, but not in HTTP"],
  ["has an odd status", (socket) => socket.write("HTTP/1.1 abc\r\n\r\n"), "answers, but not in HTTP"],
  ["has another version", (socket) => socket.write("HTTP/2 200\r\n\r\n"), "answers, but not in HTTP"],
  [
    "never stops",
    (socket) => {
      const line = `X: ${"x".repeat(1000)}\r\n`;
      socket.write("HTTP/1.1 200 OK\r\n");
      const more = (): void => {
        while (socket.writable && socket.write(line));
      };
      socket.on("drain", more);
      more();
    },
    "answers with more than 16 KiB of headers",
  ],
  [
    "never goes on",
    (socket) => socket.write("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000)),
    "answers with more than 16 KiB",
  ],
])("a proxy that %s is named", async (_what, answer, words) => {
  await using middle = await startFakeProxy(answer);
  const error = await refusal({ proxy: middle.proxy });
  expect(error.code).toBe("unreachable");
  expect(error.message).toContain(`the proxy 127.0.0.1:${middle.proxy.port} (from HTTPS_PROXY) ${words}`);
});

test("an answer may come byte by byte, behind another one, with lines that end in LF alone", async () => {
  await using server = await startTestServer({ tls: "auto" });
  const answer = 'HTTP/1.0 102 Processing\n\nHTTP/1.0 200\nContent-Length: 5\nServer: "a: b"\n\n';
  await using middle = await startFakeProxy((socket) => {
    void (async () => {
      for (const byte of answer) {
        socket.write(byte);
        await new Promise(setImmediate);
      }
      passOn(socket, server.grpcPort, "");
    })();
  });
  await using client = startTestClient(await server.addKey(), {
    proxy: middle.proxy,
    tunnels: [http(9, "app")],
  });
  await client.online();
  expect(client.log.lines.map(({ message }) => message)).not.toContain("offline; trying again");
});

test("a proxy that is not there, or says nothing, is named in time", async () => {
  const nobody = createServer().listen(0, "127.0.0.1");
  await once(nobody, "listening");
  const { port } = nobody.address() as AddressInfo;
  nobody.close();
  const proxy: HttpProxy = { host: "127.0.0.1", port, setBy: "--proxy" };
  expect((await refusal({ proxy })).message).toBe(
    `the proxy 127.0.0.1:${port} (from --proxy) refuses the connection: check the proxy's address and port`,
  );
  await using silent = await startFakeProxy(() => {});
  expect((await refusal({ proxy: silent.proxy, timeoutMs: 100 })).message).toBe(
    `the proxy 127.0.0.1:${silent.proxy.port} (from HTTPS_PROXY) takes the connection, but gives no answer in time: check that it is an HTTP proxy, and that it can reach tunnel.example.com:7000`,
  );
});

test("a server that is silent behind a proxy is the one that is named", async () => {
  await using middle = await startFakeProxy((socket) => socket.write("HTTP/1.1 200 OK\r\n\r\n"));
  for (const plaintext of [true, false]) {
    const error = await refusal({ proxy: middle.proxy, plaintext, timeoutMs: 100 });
    expect(error.message).toContain("tunnel.example.com:7000 takes the connection, but says nothing");
  }
});

test("a server that hangs up behind a proxy is the one that is named", async () => {
  await using middle = await startFakeProxy((socket) => socket.end("HTTP/1.1 200 OK\r\n\r\n"));
  for (const plaintext of [true, false]) {
    const error = await refusal({ proxy: middle.proxy, plaintext });
    expect(error.message).toMatch(/^tunnel.example.com:7000 closes the connection/);
  }
});

test("dialling through a proxy stops at once when its signal aborts, and leaves no connection", async () => {
  await using middle = await startFakeProxy(() => {});
  const stopping = new AbortController();
  const dialling = tryDial({ proxy: middle.proxy, signal: stopping.signal });
  const socket = await middle.asked(1);
  const closed = once(socket.resume(), "close");
  const reason = new Error("the client is stopping");
  stopping.abort(reason);
  await expect(dialling).rejects.toBe(reason);
  await closed;
});

test("closing a channel ends a connection that its proxy has not answered", async () => {
  await using server = await startTestServer({ tls: "auto" });
  await using middle = await startFakeProxy((socket, count) => {
    if (count === 1) passOn(socket, server.grpcPort);
  });
  const token = await server.addKey();
  await using client = startTestClient(token, { proxy: middle.proxy });
  const socket = await middle.asked(2);
  const closed = once(socket.resume(), "close");
  client.cut();
  await closed;
  expect(middle.requests).toHaveLength(2);
});

test("grpc-js does not look for a proxy of its own", async () => {
  await using server = await startTestServer({ tls: "off" });
  await using middle = await startFakeProxy((socket) => socket.end("HTTP/1.1 403 No\r\n\r\n"));
  const before = { ...process.env };
  try {
    for (const name of ["grpc_proxy", "https_proxy", "http_proxy"])
      process.env[name] = `http://127.0.0.1:${middle.proxy.port}`;
    await using client = startTestClient(await server.addKey(), { tunnels: [http(9, "app")] });
    await client.online();
  } finally {
    process.env = before;
  }
  expect(middle.requests).toEqual([]);
});

type Tried = Partial<DialOptions> & Pick<DialOptions, "proxy">;

function tryDial(options: Tried) {
  return dial({
    host: "tunnel.example.com",
    port: 7000,
    signal: new AbortController().signal,
    timeoutMs: 10_000,
    ...options,
  });
}

async function refusal(options: Tried): Promise<TunnelError> {
  const outcome = await tryDial(options).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(TunnelError);
  return outcome as TunnelError;
}
