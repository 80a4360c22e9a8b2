import { expect, test } from "vitest";
import { type FinishedExchange, type LocalTunnel, serveStream } from "../../../client/local/serve-stream.ts";
import type { Kind, Open } from "../../../link/messages.ts";
import { FakeStream } from "../../support/fake-stream.ts";
import { RawBackend } from "../../support/raw-backend.ts";
import { openFor, serviceAt } from "./replay.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

function serve(backend: RawBackend, open: Partial<Open> = {}) {
  const stream = new FakeStream();
  const reports: FinishedExchange[] = [];
  const tunnels = new Map<number, LocalTunnel>([
    [1, { name: "web", kind: "HTTP", ports: 1, service: serviceAt(backend.target) }],
  ]);
  serveStream(
    stream,
    { ...openFor({ target: "/page?x" }), ...open },
    { tunnels, finished: (done) => reports.push(done), finishedRelay: () => {} },
  );
  return { stream, reports };
}

test("a stream of a tunnel is served, and reported once", async () => {
  await using backend = await RawBackend.answering(OK);
  const { stream, reports } = serve(backend);
  stream.finish();
  await stream.until(() => stream.over);
  expect(stream.body.toString()).toBe("ok");
  expect(reports).toEqual([
    {
      requestId: "r1",
      visitor: "203.0.113.7:4711",
      tunnel: "web",
      method: "GET",
      target: "/page?x",
      status: 200,
      ms: expect.any(Number),
    },
  ]);
});

test("a failure is reported once", async () => {
  await using backend = await RawBackend.start(async (connection) => {
    await connection.head();
    connection.end();
  });
  const { stream, reports } = serve(backend);
  await stream.until(() => stream.over);
  stream.fail();
  expect(reports).toMatchObject([{ tunnel: "web", method: "GET", failure: "CONNECTION_LOST" }]);
});

test("a stream of an unknown tunnel is reset, and reported with what it asked for", async () => {
  await using backend = await RawBackend.answering(OK);
  const { stream, reports } = serve(backend, { tunnel: 7 });
  expect(stream.wasReset?.code).toBe("UNKNOWN_TUNNEL");
  expect(reports).toMatchObject([
    { tunnel: "", method: "GET", target: "/page?x", failure: "UNKNOWN_TUNNEL" },
  ]);
  expect(backend.connections).toHaveLength(0);
});

test("a stream of a kind that is not served is reset", async () => {
  await using backend = await RawBackend.answering(OK);
  const { stream, reports } = serve(backend, { kind: "TCP" as Kind });
  expect(stream.wasReset?.code).toBe("UNSUPPORTED");
  expect(reports).toMatchObject([{ tunnel: "web", failure: "UNSUPPORTED" }]);
});

test("a head that is none is reset, and reported without a start line", async () => {
  await using backend = await RawBackend.answering(OK);
  for (const tunnel of [1, 7]) {
    const { stream, reports } = serve(backend, { tunnel, head: Buffer.from("what") });
    expect(stream.wasReset).toBeDefined();
    expect(reports).toMatchObject([{ method: "", target: "" }]);
  }
});
