import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import * as fc from "fast-check";
import { expect } from "vitest";
import { parseProxy, passProxy } from "../../../client/connection/http-proxy.ts";
import { TunnelError } from "../../../link/errors.ts";
import { fuzz } from "../../support/fuzz.ts";

const PROXY = { host: "proxy", port: 3128, setBy: "--proxy" };
// RFC 7617 section 2: no control characters, and no colon in a user.
const secret = fc.string({ unit: "grapheme" }).filter((text) => !/\p{Cc}/u.test(text));
const user = secret.filter((text) => !text.includes(":"));

fuzz("any text is a proxy, or refused", [fc.oneof(fc.string({ unit: "binary" }), fc.webUrl())], (text) => {
  const parsed = parseProxy(text);
  if (typeof parsed === "string") expect(parsed).toMatch(/^expected an HTTP proxy/);
  else expect(parsed.port).toBeGreaterThan(0);
});

fuzz("a user and password come back as they were encoded", [user, secret], (name, password) => {
  const parsed = parseProxy(`http://${encodeURIComponent(name)}:${encodeURIComponent(password)}@proxy:3128`);
  const credentials = name === "" && password === "" ? {} : { credentials: `${name}:${password}` };
  expect(parsed).toEqual({ host: "proxy", port: 3128, ...credentials });
});

fuzz(
  "whatever portions an answer comes in, what stands behind it is the server's, byte for byte",
  [
    fc.array(fc.constantFrom("Via: a", "Content-Length: 5", " folded", "Transfer-Encoding: chunked"), {
      maxLength: 5,
    }),
    fc.constantFrom("\r\n", "\n"),
    fc.uint8Array({ maxLength: 200 }),
    fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }),
  ],
  async (lines, lineEnd, behind, sizes) => {
    const head = ["HTTP/1.1 100 Continue", "", "HTTP/1.1 200 OK", ...lines, "", ""].join(lineEnd);
    const socket = inPortions(Buffer.concat([Buffer.from(head), behind]), sizes);
    expect(await passProxy(socket, PROXY, "tunnel.example.com:7000")).toBe(socket);
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks)).toEqual(Buffer.from(behind));
  },
);

fuzz(
  "any answer lets through or is refused",
  [fc.uint8Array({ maxLength: 300 }), fc.boolean()],
  async (bytes, http) => {
    const socket = inPortions(Buffer.concat([Buffer.from(http ? "HTTP/1.1 " : ""), bytes]), []);
    const outcome: unknown = await passProxy(socket, PROXY, "a:1").catch((error: unknown) => error);
    expect(outcome === socket || outcome instanceof TunnelError).toBe(true);
  },
);

/** A socket from which these bytes come, in portions of these sizes, and then the end. */
function inPortions(bytes: Buffer, sizes: number[]): Socket {
  let at = 0;
  const waiting = [...sizes];
  const duplex = new Duplex({
    allowHalfOpen: false,
    read() {
      const size = waiting.shift() ?? bytes.length;
      const portion = bytes.subarray(at, at + size);
      at += portion.length;
      setImmediate(() => this.push(portion.length > 0 ? portion : null));
    },
    write: (_chunk, _encoding, done) => done(),
  });
  // All that is used of a socket is a stream's, and `connecting`.
  return Object.assign(duplex, { connecting: false }) as unknown as Socket;
}
