import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Agent, Client, fetch, Pool } from "undici";
import { startWorld, type World } from "../support/world.ts";

const MIB = 1024 * 1024;

let world: World;
beforeAll(async () => {
  world = await startWorld({
    tls: "auto",
    service(request, response) {
      if (request.url === "/echo") {
        response.writeHead(200, { "Content-Type": "application/octet-stream" });
        request.pipe(response);
        return;
      }
      const hash = createHash("sha256");
      request.on("data", (chunk: Buffer) => hash.update(chunk));
      request.on("end", () =>
        response.end(
          JSON.stringify({ url: request.url, method: request.method, sha256: hash.digest("hex") }),
        ),
      );
    },
  });
});
afterAll(() => world[Symbol.asyncDispose]());

/** undici sends the Host of its URL, and Node's resolver does not know names under localhost. */
const dispatcher = new Agent({
  connect: { lookup: (_name, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]) },
});
afterAll(() => dispatcher.close());

function url(path: string): string {
  return `http://app.localhost:${world.httpPort}${path}`;
}

test("fetch sends a streaming body, and its answer streams back", async () => {
  const parts = Array.from({ length: 40 }, () => randomBytes(MIB / 8));
  const response = await fetch(url("/echo"), {
    dispatcher,
    method: "POST",
    body: Readable.toWeb(Readable.from(parts)) as ReadableStream,
    duplex: "half",
  });
  expect(response.status).toBe(200);
  const hash = createHash("sha256");
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) hash.update(chunk);
  expect(hash.digest("hex")).toBe(sha256(Buffer.concat(parts)));
});

test("fetch that is aborted leaves the tunnel as it was", async () => {
  const abort = new AbortController();
  const response = await fetch(url("/echo"), {
    dispatcher,
    method: "POST",
    signal: abort.signal,
    duplex: "half",
    body: new ReadableStream({
      async pull(controller) {
        await new Promise(setImmediate);
        controller.enqueue(Buffer.alloc(64 * 1024));
      },
    }),
  });
  abort.abort();
  await expect(response.arrayBuffer()).rejects.toThrow("aborted");
  expect((await fetch(url("/after"), { dispatcher })).status).toBe(200);
});

test("a Pool with pipelining gets every answer to its own request", async () => {
  const pool = new Pool(`http://127.0.0.1:${world.httpPort}`, { connections: 4, pipelining: 8 });
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const body = i % 2 === 0 ? undefined : randomBytes(i * 100);
      const { statusCode, body: answer } = await pool.request({
        path: `/${i}`,
        method: body ? "PUT" : "GET",
        headers: { host: "app.localhost" },
        body,
      });
      expect(statusCode).toBe(200);
      const { url, sha256: got } = (await answer.json()) as { url: string; sha256: string };
      return url === `/${i}` && got === sha256(body ?? Buffer.alloc(0));
    }),
  );
  expect(answers.every(Boolean)).toBe(true);
  await pool.close();
});

test("a Client gets 1xx, trailers and repeated fields as the service sent them", async () => {
  const service = createServer((_, response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    response.writeHead(200, { "Set-Cookie": ["a=1", "b=2"], Trailer: "X-Sum" });
    response.write("body");
    response.addTrailers({ "X-Sum": "4" });
    response.end();
  });
  await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
  const { port } = service.address() as { port: number };
  await using own = await startWorld({ service: { host: "127.0.0.1", port } });
  const client = new Client(`http://127.0.0.1:${own.httpPort}`);
  const hints: number[] = [];
  const { headers, trailers, body } = await client.request({
    path: "/",
    method: "GET",
    headers: { host: "app.localhost" },
    onInfo: ({ statusCode }) => hints.push(statusCode),
  });
  expect(await body.text()).toBe("body");
  expect(hints).toEqual([103]);
  expect(headers["set-cookie"]).toEqual(["a=1", "b=2"]);
  expect(trailers).toEqual({ "x-sum": "4" });
  await client.close();
  service.closeAllConnections();
  service.close();
});

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
