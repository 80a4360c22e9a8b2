import { expect } from "vitest";
import { Random } from "../support/random.ts";
import { whole } from "./acceptance.ts";
import { get, ok, request } from "./messages.ts";
import type { Tunnel } from "./tunnel.ts";

/** Longer than the minute after which much of the network takes a silent connection for dead. */
const SILENCE_MS = 70_000;
const CHUNKED = "Transfer-Encoding: chunked";
const random = new Random(Date.now());

/** A little apart, so that no two have the same moment. */
function silence(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SILENCE_MS + random.below(2_000)));
}

const SILENT: Record<string, (tunnel: Tunnel) => Promise<void>> = {
  async "before the head of an answer"(tunnel) {
    const visitor = await tunnel.request(get("/late"));
    expect((await visitor.answer()).body.toString()).toBe("late");
  },
  async "before 100 Continue"(tunnel) {
    const visitor = await tunnel.request(
      request("POST /continue", ["Content-Length: 2", "Expect: 100-continue"]),
    );
    expect((await visitor.head()).status).toBe(100);
    visitor.send("hi");
    expect((await visitor.answer()).body.toString()).toBe("hi");
  },
  async "within events"(tunnel) {
    const visitor = await tunnel.request(get("/events"));
    expect((await visitor.answer()).chunks.map(String)).toEqual(["data: 1\n\n", "data: 2\n\n"]);
  },
  async "within an answer by length"(tunnel) {
    const visitor = await tunnel.request(get("/length"));
    expect((await visitor.answer()).body.toString()).toBe("late");
  },
  async "within an upload by length"(tunnel) {
    const visitor = await tunnel.request(request("POST /upload", ["Content-Length: 8"], "half"));
    await silence();
    visitor.send("half");
    expect((await visitor.answer()).body.toString()).toBe("halfhalf");
  },
  async "within an upload in chunks"(tunnel) {
    const visitor = await tunnel.request(request("POST /upload", [CHUNKED], "4\r\nhalf\r\n"));
    await silence();
    visitor.send("4\r\nhalf\r\n0\r\n\r\n");
    expect((await visitor.answer()).body.toString()).toBe("halfhalf");
  },
  async "on an upgraded connection"(tunnel) {
    const visitor = await tunnel.request(get("/upgrade", "Connection: Upgrade", "Upgrade: echo"));
    expect((await visitor.head()).status).toBe(101);
    await silence();
    visitor.send("still here");
    expect((await visitor.bytes(10)).toString()).toBe("still here");
  },
  async "between two requests"(tunnel) {
    const visitor = await tunnel.request(request("POST /upload", ["Content-Length: 3"], "one"));
    expect((await visitor.answer()).body.toString()).toBe("one");
    await silence();
    visitor.request(request("POST /upload", ["Content-Length: 3"], "two"));
    expect((await visitor.answer()).body.toString()).toBe("two");
  },
};

whole(
  `${SILENCE_MS / 1000} s of silence is no error, wherever it is`,
  async ({ tunnel }) => {
    tunnel.backend.serve(async ({ target, connection, body }) => {
      switch (target) {
        case "/late":
          await silence();
          return connection.send(ok("late"));
        case "/continue":
          await silence();
          await connection.send("HTTP/1.1 100 Continue\r\n\r\n");
          return connection.send(ok((await body()).bytes.toString()));
        case "/events":
          await connection.send(`HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n9\r\ndata: 1\n\n\r\n`);
          await silence();
          return connection.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n");
        case "/length":
          await connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nla");
          await silence();
          return connection.send("te");
        case "/upload":
          return connection.send(ok((await body()).bytes.toString()));
        default:
          await connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
          );
          return connection.send(await connection.take(10));
      }
    });
    const outcomes = await Promise.allSettled(Object.values(SILENT).map((each) => each(tunnel)));
    const failed = Object.keys(SILENT).flatMap((name, i) => {
      const outcome = outcomes[i]!;
      return outcome.status === "rejected" ? [`${name}: ${String(outcome.reason)}`] : [];
    });
    expect(failed).toEqual([]);
  },
  SILENCE_MS + 30_000,
);
