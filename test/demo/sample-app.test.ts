import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { isListening } from "../../demo/loopback-ports.ts";
import { startSampleApp, type SampleApp } from "../../demo/sample-app.ts";
import { textsFor } from "../../demo/texts.ts";

let app: SampleApp;
const address = (path: string): string => `http://127.0.0.1:${app.port}${path}`;

beforeAll(async () => {
  app = await startSampleApp({ port: 0 });
});
afterAll(() => app.close());

test("the page shows the forwarding fields, and nothing of a request as markup", async () => {
  const response = await fetch(address("/?<script>"), {
    headers: { "x-forwarded-for": "203.0.113.7", forwarded: `for="<b onclick='x'>"` },
  });
  const page = await response.text();
  expect(page).toContain("203.0.113.7");
  expect(page).toContain("for=&#34;&#60;b onclick=&#39;x&#39;&#62;&#34;");
  expect(page).not.toContain("<b onclick");
  expect(page).not.toContain("?<script>");
});

test.each([
  ["zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"],
  ["de, zh-TW;q=0.5", "zh-CN"],
  ["en-US,en;q=0.9,zh;q=0.8", "en"],
  ["zh;q=0", "en"],
  ["fr", "en"],
])("a browser that prefers %s gets %s", async (preferred, lang) => {
  expect(textsFor(preferred).lang).toBe(lang);
  const page = await (await fetch(address("/"), { headers: { "accept-language": preferred } })).text();
  expect(page).toContain(`<html lang="${lang}">`);
});

test("a form is answered as JSON to a script and as an escaped page to a browser without one", async () => {
  const form = new URLSearchParams([
    ["name", "<i>Ada</i>"],
    ["message", "a+b &=%"],
  ]);
  const json = await fetch(address("/form"), {
    method: "POST",
    body: form,
    headers: { accept: "application/json" },
  });
  expect(await json.json()).toEqual([...form]);
  const page = await (await fetch(address("/form"), { method: "POST", body: form })).text();
  expect(page).toContain("<dd>&#60;i&#62;Ada&#60;/i&#62;</dd>");
});

test("a form of more than 64 KiB is refused", async () => {
  const body = new URLSearchParams({ name: "x".repeat(70_000) });
  expect((await fetch(address("/form"), { method: "POST", body })).status).toBe(413);
});

test("an upload is counted and hashed", async () => {
  const bytes = randomBytes(3_000_000);
  const response = await fetch(address("/upload"), { method: "POST", body: bytes });
  expect(await response.json()).toEqual({
    bytes: bytes.length,
    sha256: createHash("sha256").update(bytes).digest("hex"),
  });
});

test("an event comes at once and the next about a second later", async () => {
  const leave = new AbortController();
  const response = await fetch(address("/events"), { signal: leave.signal });
  expect(response.headers.get("content-type")).toContain("text/event-stream");
  const reader = response.body!.getReader();
  const times: number[] = [];
  for (let i = 0; i < 2; i++) {
    const text = Buffer.from((await reader.read()).value as Uint8Array).toString();
    times.push(Date.parse(/^data: (\S+)\n\n$/.exec(text)![1]!));
  }
  leave.abort();
  expect(times[1]! - times[0]!).toBeGreaterThan(900);
});

test("WebSocket messages come back as they were, text and binary", async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${app.port}/echo`);
  await once(socket, "open");
  for (const message of ["✓ 隧道", randomBytes(70_000)]) {
    socket.send(message);
    const [data, binary] = (await once(socket, "message")) as [Buffer, boolean];
    expect(binary).toBe(typeof message !== "string");
    expect(data.equals(Buffer.from(message as string))).toBe(true);
  }
  socket.close();
  await once(socket, "close");
});

test.each([
  ["GET", "/nothing"],
  ["GET", "//"],
  ["DELETE", "/"],
])("%s %s is not found, and the app lives", async (method, path) => {
  const [response] = (await once(
    http.request({ port: app.port, host: "127.0.0.1", method, path }).end(),
    "response",
  )) as [http.IncomingMessage];
  response.resume();
  expect(response.statusCode).toBe(404);
  expect((await fetch(address("/"))).status).toBe(200);
});

test("closing cuts endless streams", async () => {
  const own = await startSampleApp({ port: 0 });
  const events = await fetch(`http://127.0.0.1:${own.port}/events`);
  const socket = new WebSocket(`ws://127.0.0.1:${own.port}/echo`);
  await once(socket, "open");
  const socketEnds = once(socket, "close");
  const eventsEnd = events.text().then(
    () => "a whole answer",
    () => "cut",
  );
  await own.close();
  await socketEnds;
  expect(await eventsEnd).toBe("cut");
  expect(await isListening("127.0.0.1", own.port)).toBe(false);
});
