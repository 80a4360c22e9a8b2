import fs from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { createLog, type LogOptions } from "../../runtime/log.ts";
import { prettyLine } from "../../runtime/pretty-line.ts";

afterEach(() => vi.useRealTimers());

function capture(options: Omit<LogOptions, "destination"> = {}) {
  const lines: string[] = [];
  const log = createLog({ ...options, destination: { write: (line) => lines.push(line) } });
  return { log, lines, json: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

test("a JSON line has time, level and message, and nothing of the process", () => {
  vi.useFakeTimers({ now: new Date("2024-05-06T07:08:09.123Z"), toFake: ["Date"] });
  const { log, lines } = capture();
  log.info({ status: 200, path: "/" }, "answered");
  expect(lines).toEqual([
    '{"level":"info","time":"2024-05-06T07:08:09.123Z","status":200,"path":"/","message":"answered"}\n',
  ]);
});

test("lines below the level are left out", () => {
  const { log, json } = capture({ level: "warn" });
  log.debug("a");
  log.info("b");
  log.warn("c");
  log.error({ d: 1 }, "d");
  expect(json().map(({ level, message }) => [level, message])).toEqual([
    ["warn", "c"],
    ["error", "d"],
  ]);
  const silent = capture({ level: "silent" });
  silent.log.error("x");
  expect(silent.lines).toEqual([]);
});

test("a child's fields stand in each of its lines", () => {
  const { log, json } = capture();
  log.child({ session: "s1" }).child({ stream: 2 }).info({ n: 3 }, "x");
  expect(json()[0]).toMatchObject({ session: "s1", stream: 2, n: 3, message: "x" });
});

test("a message is no pattern", () => {
  const { log, json } = capture();
  log.info({ a: 1 }, "100 %s %d %% done");
  log.info("%j");
  expect(json().map(({ message }) => message)).toEqual(["100 %s %d %% done", "%j"]);
});

test("an error shows code, message and causes, and no stack", () => {
  const { log, json } = capture();
  const cause = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" });
  log.error({ error: new Error("no local service", { cause: new TypeError("odd", { cause }) }) }, "failed");
  expect(json()[0]!["error"]).toEqual({
    message: "no local service",
    cause: {
      code: "TypeError",
      message: "odd",
      cause: { code: "ECONNREFUSED", message: "connect ECONNREFUSED 127.0.0.1:1" },
    },
  });
});

test("at level debug an error shows where it was thrown", () => {
  const { log, json } = capture({ level: "debug" });
  log.error({ error: new Error("x") }, "failed");
  expect(json()[0]!["error"]).toMatchObject({
    stack: expect.arrayContaining([expect.stringContaining("log.test.ts")]),
  });
});

test("an error with many reasons and no message tells the reasons", () => {
  const { log, json } = capture();
  log.warn({ error: new AggregateError([new Error("one"), new Error("two")]) }, "failed");
  expect(json()[0]!["error"]).toMatchObject({ message: "one; two" });
});

test("causes in a circle end", () => {
  const { log, lines } = capture();
  const error = new Error("round");
  error.cause = error;
  log.warn({ error }, "failed");
  expect(lines[0]!.match(/round/g)!.length).toBeLessThan(10);
});

test.each(["json", "pretty"] as const)("long values and messages are cut (%s)", (format) => {
  const { log, lines } = capture({ format });
  const long = "x".repeat(100_000);
  log.info(
    { target: long, list: Array(1000).fill(long), deep: { er: { and: { deeper: { still: long } } } } },
    long,
  );
  log.child({ long }).error({ error: new Error(long) }, "x");
  expect(lines[0]!.length).toBeLessThan(55 * 2100);
  expect(lines[1]!.length).toBeLessThan(3 * 2100);
  expect(lines[0]).toContain("… (97952 more)");
});

const HOSTILE = "a\r\n10:00:00 info  forged\u001b[2J\u009b2J\u0007\u007f\u202ecba\u2028\u2029\u0085\u200f";

test.each(["json", "pretty"] as const)("no value can forge a line or steer a terminal (%s)", (format) => {
  const { log, lines } = capture({ format, level: "debug" });
  const error = Object.assign(new Error(HOSTILE, { cause: HOSTILE }), {
    code: HOSTILE,
    stack: `x\n at ${HOSTILE}`,
  });
  log.info({ value: HOSTILE, [HOSTILE]: [HOSTILE], nested: { [HOSTILE]: HOSTILE } }, HOSTILE);
  log.child({ [HOSTILE]: HOSTILE }).warn({ error }, HOSTILE);
  expect(lines).toHaveLength(2);
  for (const line of lines) {
    expect(line).toMatch(/^[\x20-\x7e\n]*\n$/);
    expect(line.split("\n").filter((each) => each.startsWith("10:00:00"))).toEqual([]);
  }
  expect(lines[0]!.split("\n")).toHaveLength(2);
});

test("what JSON escapes reads back as it was", () => {
  const { log, json } = capture();
  log.info({ value: `${HOSTILE}ü😀` }, HOSTILE);
  expect(json()[0]).toMatchObject({ value: `${HOSTILE}ü😀`, message: HOSTILE });
});

test("odd values break nothing", () => {
  const { log, json } = capture();
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  log.info(
    { circle, big: 10n, bytes: Buffer.from("secret"), nothing: undefined, none: null, nan: NaN },
    "odd",
  );
  log.info(
    {
      url: new URL("http://x/"),
      date: new Date(0),
      never: new Date(NaN),
      f: () => 1,
      s: Symbol("x"),
      map: new Map([[1, 2]]),
    },
    "odd",
  );
  expect(json()[0]).toMatchObject({ big: "10", bytes: "<6 bytes>", none: null, nan: null });
  expect(json()[1]).toMatchObject({ url: "http://x/", date: "1970-01-01T00:00:00.000Z" });
});

test("a line for people has time, level, message and fields", () => {
  const json = JSON.stringify({
    level: "info",
    time: new Date(2024, 4, 6, 10, 31, 48).toISOString(),
    host: "app.example.com",
    empty: "",
    text: 'two "words"',
    n: 3,
    list: [1, "b"],
    error: { code: "ECONNREFUSED", message: "connect", cause: { message: "why" } },
    message: "answered",
  });
  expect(prettyLine(json, false)).toBe(
    '10:31:48 info  answered  host=app.example.com  empty=""  text="two \\"words\\""  n=3  list=[1,"b"]' +
      '  error="ECONNREFUSED: connect; caused by why"\n',
  );
  expect(prettyLine(json, true)).toContain(
    "\u001b[32minfo \u001b[0m answered  \u001b[90mhost=\u001b[0mapp.example.com",
  );
});

test("stacks stand below a line for people, indented", () => {
  const { log, lines } = capture({ format: "pretty", level: "debug" });
  log.error({ error: new Error("x\n10:00:00 info  forged") }, "failed");
  const [first, second, ...rest] = lines[0]!.split("\n");
  expect(first).toMatch(/^\d\d:\d\d:\d\d error failed {2}error="x\\\\?n10:00:00 info {2}forged"$/);
  expect(second).toMatch(/^ {4}at .*log\.test\.ts/);
  expect(rest.every((line) => line === "" || line.startsWith("    at "))).toBe(true);
});

test("a file descriptor that is no terminal gets JSON, all of it at the exit", () => {
  const file = path.join(fs.mkdtempSync(path.join(tmpdir(), "log-")), "log");
  const fd = fs.openSync(file, "w");
  const before = new Set(process.listeners("exit"));
  const log = createLog({ destination: fd, env: {} });
  for (let i = 0; i < 100; i++) log.info({ i }, "x");
  const [atExit] = process.listeners("exit").filter((listener) => !before.has(listener));
  atExit!.call(process, 0);
  process.off("exit", atExit!);
  const lines = fs.readFileSync(file, "utf8").trimEnd().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { i: number }).i)).toEqual([...Array(100).keys()]);
  fs.closeSync(fd);
  fs.rmSync(path.dirname(file), { recursive: true });
});

test("a line about a request begins with what people look for", () => {
  const { log, lines } = capture({ format: "pretty" });
  log.info(
    { requestId: "a1", method: "GET", host: "app.example.com", target: "/x?y", status: 200, durationMs: 12 },
    "request",
  );
  expect(lines[0]).toMatch(/ info {2}request {2}GET app\.example\.com\/x\?y 200 12ms {2}requestId=a1\n$/);
});

test("a request's target cannot forge or split a line", () => {
  const { log, lines } = capture({ format: "pretty" });
  log.info({ method: "GET", host: "a\u001b[2Jb", target: "/\n10:00:00 info  fake", status: 200 }, "request");
  expect(lines).toHaveLength(1);
  expect(lines[0]).not.toMatch(/[\u001b]|\n./);
});
