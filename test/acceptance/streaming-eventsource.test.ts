import { once } from "node:events";
import { EventSource } from "eventsource";
import { Agent, fetch as fetchWithDispatcher } from "undici";
import { expect, onTestFinished } from "vitest";
import { fieldValue } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import type { Tunnel } from "./tunnel.ts";

const EVENTS = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

function open(tunnel: Tunnel): EventSource {
  const { host, port } = tunnel.address;
  const dispatcher = new Agent({
    connect: { lookup: (_name, _options, done) => done(null, [{ address: host, family: 4 }]) },
  });
  // The Host stands in the URL's place, since Node's resolver does not know names under localhost.
  const source = new EventSource(`http://app.localhost:${port}/events`, {
    fetch: (url, init) =>
      fetchWithDispatcher(url, {
        ...init,
        headers: { ...init.headers, ...tunnel.mark() },
        dispatcher,
      }),
  });
  onTestFinished(async () => {
    source.close();
    await dispatcher.destroy();
  });
  return source;
}

function event(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

async function next(source: EventSource, type = "message"): Promise<MessageEvent> {
  return ((await once(source, type)) as [MessageEvent])[0];
}

acceptance("an EventSource gets each event before the next is made", async ({ tunnel }) => {
  const arrived = tunnel.backend.next();
  const source = open(tunnel);
  const { connection } = await arrived;
  const opened = once(source, "open");
  await connection.send(EVENTS);
  await opened;
  for (let i = 0; i < 20; i++) {
    const received = next(source);
    await connection.send(event(`id: ${i}\ndata: token ${i}\n\n`));
    const { data, lastEventId } = await received;
    expect({ data: data as unknown, lastEventId }).toEqual({ data: `token ${i}`, lastEventId: String(i) });
  }
  const named = next(source, "done");
  await connection.send(event("event: done\ndata: all\n\n"));
  expect((await named).data).toBe("all");
});

acceptance(
  "an EventSource whose stream ends or is cut opens it again behind its last event",
  async ({ tunnel }) => {
    const lastIds: (string | undefined)[] = [];
    tunnel.backend.serve(async ({ fields, connection }) => {
      const lastId = fieldValue(fields, "last-event-id");
      const id = Number(lastId ?? 0) + 1;
      lastIds.push(lastId);
      await connection.send(EVENTS, event(`retry: 1\nid: ${id}\ndata: ${id}\n\n`));
      if (id === 1) await connection.send("0\r\n\r\n");
    });
    const source = open(tunnel);
    const received: unknown[] = [];
    // The first stream ends, the second is cut, the third stays.
    await new Promise<void>((resolve) => {
      source.addEventListener("message", ({ data }: MessageEvent) => {
        received.push(data);
        if (data === "2") tunnel.backend.requests.at(-1)!.connection.reset();
        if (data === "3") resolve();
      });
    });
    expect(received).toEqual(["1", "2", "3"]);
    expect(lastIds).toEqual([undefined, "1", "2"]);
  },
);

acceptance("an EventSource that is closed ends the local service's stream", async ({ tunnel }) => {
  const arrived = tunnel.backend.next();
  const source = open(tunnel);
  const { connection } = await arrived;
  const first = next(source);
  await connection.send(EVENTS, event("data: hello\n\n"));
  await first;
  source.close();
  await connection.untilClosed();
});
