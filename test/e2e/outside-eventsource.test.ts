import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { EventSource } from "eventsource";
import { Agent, fetch as fetchWithDispatcher } from "undici";
import { afterAll, afterEach, expect, test } from "vitest";
import { startWorld } from "../support/world.ts";

const dispatcher = new Agent({
  connect: { lookup: (_name, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]) },
});
const sources: EventSource[] = [];
afterAll(() => dispatcher.destroy());
afterEach(() => sources.splice(0).forEach((source) => source.close()));

function open(port: number, path = "/events"): EventSource {
  const source = new EventSource(`http://127.0.0.1:${port}${path}`, {
    fetch: (url, init) => fetchWithHost(url, init),
  });
  sources.push(source);
  return source;
}

/** The Host stands in the URL's place, since Node's resolver does not know names under localhost. */
function fetchWithHost(url: string | URL, init: RequestInit | undefined): Promise<Response> {
  const named = new URL(url);
  named.hostname = "app.localhost";
  // undici's own types stand beside those that Node.js has of it.
  return fetchWithDispatcher(named, { ...init, dispatcher } as object);
}

async function next(source: EventSource, type = "message"): Promise<MessageEvent> {
  return ((await once(source, type)) as [MessageEvent])[0];
}

test("each event arrives before the next is made", async () => {
  let stream!: ServerResponse;
  await using world = await startWorld({
    tls: "auto",
    service(_, response) {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.flushHeaders();
      stream = response;
    },
  });
  const source = open(world.httpPort);
  await once(source, "open");
  for (let i = 0; i < 20; i++) {
    const arrived = next(source);
    stream.write(`id: ${i}\ndata: token ${i}\n\n`);
    const event = await arrived;
    expect({ data: event.data as unknown, id: event.lastEventId }).toEqual({
      data: `token ${i}`,
      id: String(i),
    });
  }
  const named = next(source, "done");
  stream.write("event: done\ndata: all\n\n");
  expect((await named).data).toBe("all");
});

test("a stream that ends is opened again behind its last event", async () => {
  const lastIds: (string | undefined)[] = [];
  let stream: ServerResponse | undefined;
  await using world = await startWorld({
    service(request, response) {
      const lastId = request.headers["last-event-id"] as string | undefined;
      lastIds.push(lastId);
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      const id = Number(lastId ?? 0) + 1;
      response.write(`retry: 1\nid: ${id}\ndata: ${id}\n\n`);
      if (lastIds.length === 1) response.end();
      stream = response;
    },
  });
  const source = open(world.httpPort);
  const received: unknown[] = [];
  // The first stream ends, the second is cut, the third stays.
  await new Promise<void>((resolve) => {
    source.addEventListener("message", ({ data }: MessageEvent) => {
      received.push(data);
      if (data === "2") stream!.socket!.resetAndDestroy();
      if (data === "3") resolve();
    });
  });
  expect(received).toEqual(["1", "2", "3"]);
  expect(lastIds).toEqual([undefined, "1", "2"]);
});

test("a source that is closed ends the local service's stream", async () => {
  let closed!: Promise<unknown>;
  await using world = await startWorld({
    service(_, response) {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write("data: hello\n\n");
      closed = once(response, "close");
    },
  });
  const source = open(world.httpPort);
  await next(source);
  source.close();
  await expect(closed).resolves.toBeDefined();
});
