/**
 * An HTTP proxy on the way to the server, as many companies have one: asked by CONNECT for a connection to the server (RFC 9110
 * section 9.3.6), it passes bytes on from then on. It looks the server's name up itself.
 */
import { isIPv4, type Socket } from "node:net";
import { TunnelError } from "../../link/errors.ts";
import { formatAddress, type NetAddress } from "../../runtime/net-address.ts";
import { VERSION } from "../../runtime/version.ts";
import { connectTrouble, isClosed } from "./connect-trouble.ts";

export interface ProxyAddress extends NetAddress {
  /** `user:password`, for the proxy alone; in no message. */
  credentials?: string;
}

export interface HttpProxy extends ProxyAddress {
  /** What named it, such as `HTTPS_PROXY`, for messages. */
  setBy: string;
}

/** The most that a proxy's answer may have before the first byte of the server. */
const MAX_HEAD_BYTES = 16 * 1024;
const DEFAULT_PORT = 80;
const EXPECTED =
  "expected an HTTP proxy such as http://proxy.example.com:3128, or with a sign-in http://USER:PASSWORD@proxy.example.com:3128";
const ESCAPE = "in user and password, characters such as % : @ / # stand as %25 %3A %40 %2F %23";

const CLOSED = "closes the connection without an answer: check that an HTTP proxy listens there";
const NOT_HTTP = "answers, but not in HTTP: check that an HTTP proxy listens there";
/** Each line of a head ends with CRLF; LF alone is taken too (RFC 9112 section 2.2). */
const HEAD = /^HTTP\/1\.[0-9] ([1-9][0-9]{2})(?: [^\n]*)?\r?\n((?:[^\r\n][^\n]*\n)*)\r?\n/;
const HTTP_1 = "HTTP/1.";

/**
 * Reads `http://HOST[:PORT]`, with `USER:PASSWORD@` or without; `http://` may be left out.
 *
 * @returns a string that says what was expected, and shows nothing of the text but its scheme
 */
export function parseProxy(text: string): ProxyAddress | string {
  const [prefix, scheme = "http"] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text) ?? [];
  if (scheme.toLowerCase() !== "http") return `${EXPECTED}; ${scheme}:// proxies are not supported`;
  const url = asUrl(prefix === undefined ? `http://${text}` : text);
  if (!url || url.port === "0") return `${EXPECTED}; ${ESCAPE}`;
  // What stands behind the host may be the rest of a password.
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "")
    return `${EXPECTED}, with no path; ${ESCAPE}`;
  // A number alone is an address to URL: 3128 is 0.0.12.56.
  if (isIPv4(url.hostname) && !text.includes(url.hostname)) return EXPECTED;
  const credentials = credentialsOf(url);
  if (credentials === undefined) return `${EXPECTED}; ${ESCAPE}`;
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? DEFAULT_PORT : Number(url.port),
    ...(credentials !== "" && { credentials }),
  };
}

/** How a proxy is called in messages. */
export function proxyInWords(proxy: HttpProxy): string {
  return `the proxy ${formatAddress(proxy)} (from ${proxy.setBy})`;
}

/**
 * Asks a proxy for a connection to the server, over a socket to the proxy that is connected or connecting.
 *
 * @param server "host:port", an IPv6 address in brackets
 * @returns the same socket, from now on the server's. On a failure it is destroyed
 * @throws TunnelError `unreachable`, which names the proxy
 */
export function passProxy(socket: Socket, proxy: HttpProxy, server: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let head: Buffer = Buffer.alloc(0);
    let connected = !socket.connecting;
    const fail = (message: string, cause?: Error): void => {
      reject(new TunnelError("unreachable", `${proxyInWords(proxy)} ${message}`, { cause }));
      socket.destroy();
    };
    // It stays, since a failure may come before whoever gets the socket listens.
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (connected && isClosed(error)) fail(CLOSED, error);
      else if (error.code === "ECONNREFUSED")
        fail("refuses the connection: check the proxy's address and port", error);
      else fail(connectTrouble(error), error);
    });
    const onClose = (): void => fail(CLOSED);
    const onReadable = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (!chunk) return;
      head = Buffer.concat([head, chunk]);
      const answer = readAnswer(head);
      if (answer === undefined) return;
      if (typeof answer === "string") return fail(answer);
      if (answer.status < 200 || answer.status > 299) return fail(refusal(answer, proxy, server));
      socket.off("readable", onReadable).off("end", onClose).off("close", onClose);
      // The server may have spoken already.
      if (answer.bytes < head.length) socket.unshift(head.subarray(answer.bytes));
      resolve(socket);
    };
    socket.once("connect", () => (connected = true));
    // Read in portions, so that nothing is lost between two readers.
    socket.on("readable", onReadable).on("end", onClose).on("close", onClose);
    socket.write(connectRequest(proxy, server));
  });
}

/** Why nothing came of it in time. */
export function proxyTimeout(proxy: HttpProxy, server: string, connected: boolean): TunnelError {
  return new TunnelError(
    "unreachable",
    connected
      ? `${proxyInWords(proxy)} takes the connection, but gives no answer in time: check that it is an HTTP proxy, and ` +
          `that it can reach ${server}`
      : `${proxyInWords(proxy)} does not answer: check the proxy's address and port`,
  );
}

interface Answer {
  status: number;
  /** Field lines, one character for each byte. */
  fields: string;
  /** How many bytes it took. */
  bytes: number;
}

function connectRequest({ credentials }: HttpProxy, server: string): string {
  const lines = [`CONNECT ${server} HTTP/1.1`, `Host: ${server}`, `User-Agent: tunnel-client/${VERSION}`];
  if (credentials !== undefined)
    lines.push(`Proxy-Authorization: Basic ${Buffer.from(credentials, "utf8").toString("base64")}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** @returns undefined as long as more must come; a string says what is wrong */
function readAnswer(received: Buffer): Answer | string | undefined {
  let text = received.toString("latin1", 0, MAX_HEAD_BYTES);
  let bytes = 0;
  for (;;) {
    if (!text.startsWith(HTTP_1.slice(0, text.length))) return NOT_HTTP;
    const [head, status, fields] = HEAD.exec(text) ?? [];
    if (head === undefined) break;
    bytes += head.length;
    // What else comes with it, a length or a coding, means nothing here.
    if (!status!.startsWith("1")) return { status: Number(status), fields: fields!, bytes };
    text = text.slice(head.length);
  }
  if (received.length >= MAX_HEAD_BYTES) return "answers with more than 16 KiB of headers";
  return /\n\r?\n/.test(text) ? NOT_HTTP : undefined;
}

function refusal({ status, fields }: Answer, proxy: HttpProxy, server: string): string {
  switch (status) {
    case 407:
    // tinyproxy's answer to a wrong password.
    case 401:
      return signInNeeded(status, fields, proxy);
    case 403:
      return (
        `does not allow a connection to ${server} (403): ask those who run it to allow it. Many proxies let only port 443 ` +
        "through, where tunnel-server can listen as well (grpc.listen)"
      );
    case 500:
    case 502:
    case 503:
    case 504:
      return `cannot connect to ${server} (${status}): check that name and port, and that tunnel-server runs there`;
    default:
      return `answers CONNECT with status ${status}: check that an HTTP proxy listens there, and that it allows CONNECT to ${server}`;
  }
}

function signInNeeded(status: number, fields: string, { credentials }: HttpProxy): string {
  const schemes = [...fields.matchAll(/^proxy-authenticate:[ \t]*([a-z0-9-]{1,20})/gim)].map(
    ([, name]) => name!,
  );
  if (schemes.length > 0 && !schemes.some((scheme) => scheme.toLowerCase() === "basic"))
    return `asks for a sign-in by ${schemes.slice(0, 5).join(" or ")} (${status}), but tunnel-client knows Basic only`;
  return credentials === undefined
    ? `asks for a sign-in (${status}): put user:password in its URL, as in http://USER:PASSWORD@HOST:PORT`
    : `refuses the user and password in its URL (${status})`;
}

/** "" if there are none, undefined if Basic cannot send them (RFC 7617 section 2) or they are not encoded right. */
function credentialsOf({ username, password }: URL): string | undefined {
  try {
    const [user, secret] = [decodeURIComponent(username), decodeURIComponent(password)];
    if (user.includes(":") || /\p{Cc}/u.test(user + secret)) return undefined;
    return user === "" && secret === "" ? "" : `${user}:${secret}`;
  } catch {
    return undefined;
  }
}

function asUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}
