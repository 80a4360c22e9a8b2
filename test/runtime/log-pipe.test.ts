import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { afterEach, expect, test } from "vitest";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const LINES = 120_000;
const LOG = pathToFileURL(path.join(import.meta.dirname, "../../dist/runtime/log.js"));
/** A program that logs so many lines each turn of the event loop, whose turns take a while, and says how far it is. */
const PROGRAM = `
  const [linesATurn, turnMs] = process.argv.slice(1).map(Number);
  const { createLog } = await import(${JSON.stringify(LOG)});
  const log = createLog();
  let i = 0;
  while (i < ${LINES}) {
    const until = performance.now() + turnMs;
    for (const end = i + linesATurn; i < end && i < ${LINES}; i++) log.info({ i, target: "/some/path?with=query" }, "request");
    if (i === ${LINES} / 2) process.stderr.write("half\\n");
    while (performance.now() < until);
    await new Promise(setImmediate);
  }
  process.exit(0);`;

const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
});

interface Writer {
  child: ChildProcess;
  /** What it has said on standard error. */
  errors: string;
  says(words: string): Promise<void>;
}

function startWriter(stdout: number | "pipe", linesATurn: number, turnMs = 0): Writer {
  const args = ["--input-type=module", "-e", PROGRAM, String(linesATurn), String(turnMs)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", stdout, "pipe"] });
  started.push(child);
  const writer: Writer = {
    child,
    errors: "",
    async says(words) {
      while (!writer.errors.includes(words)) await once(child.stderr!, "data");
    },
  };
  child.stderr!.setEncoding("utf8").on("data", (text: string) => (writer.errors += text));
  return writer;
}

/** A pipe as a shell makes it, and a program that writes to it. */
async function startWriterIntoPipe(linesATurn: number, turnMs?: number): Promise<Writer & { pipe: number }> {
  const fifo = path.join(await temporaryDirectory(), "fifo");
  execFileSync("mkfifo", [fifo]);
  const pipe = fs.openSync(fifo, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  const stdout = fs.openSync(fifo, "w");
  const writer = startWriter(stdout, linesATurn, turnMs);
  fs.closeSync(stdout);
  return Object.assign(writer, { pipe });
}

/** Reads up to the end, with a pause behind each read. */
async function read(pipe: number, pauseMs = 0): Promise<string> {
  const pieces: Buffer[] = [];
  for (;;) {
    const buffer = Buffer.allocUnsafeSlow(64 << 10);
    try {
      const length = fs.readSync(pipe, buffer);
      if (length === 0) break;
      pieces.push(buffer.subarray(0, length));
      if (pauseMs > 0) await delay(pauseMs);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await delay(1);
    }
  }
  fs.closeSync(pipe);
  return Buffer.concat(pieces).toString();
}

/** How many lines have arrived, each of them whole and in order, and how many are said to be missing. */
function countLines(text: string): { arrived: number; dropped: number } {
  let missing = 0;
  const numbers: number[] = [];
  for (const line of text.trimEnd().split("\n")) {
    const { i, dropped = 0 } = JSON.parse(line) as { i?: number; dropped?: number };
    if (i !== undefined) numbers.push(i);
    missing += dropped;
  }
  expect(numbers.every((number, at) => at === 0 || number > numbers[at - 1]!)).toBe(true);
  return { arrived: numbers.length, dropped: missing };
}

test("a reader that keeps up gets every line of a busy program", async () => {
  const { pipe } = await startWriterIntoPipe(100, 1);
  expect(countLines(await read(pipe))).toEqual({ arrived: LINES, dropped: 0 });
});

test.each<[string, number, number]>([
  ["reads slowly", 2000, 5],
  ["is slow at the exit", LINES, 40],
])("a reader that %s gets every line, or is told how many are missing", async (_, linesATurn, pauseMs) => {
  const { pipe } = await startWriterIntoPipe(linesATurn);
  const { arrived, dropped } = countLines(await read(pipe, pauseMs));
  expect(arrived + dropped).toBe(LINES);
});

test("a reader that stops for a while is told how many lines are missing", async () => {
  const writer = await startWriterIntoPipe(1000);
  await writer.says("half");
  const { arrived, dropped } = countLines(await read(writer.pipe));
  expect(dropped).toBeGreaterThan(0);
  expect(arrived + dropped).toBe(LINES);
});

test("a reader that has stopped does not keep a program from ending, and standard error says how many lines are lost", async () => {
  const writer = await startWriterIntoPipe(LINES);
  await once(writer.child, "close");
  const { arrived, dropped } = countLines(await read(writer.pipe));
  const [, lost] = /(\d+) lines of the log are lost/.exec(writer.errors)!;
  expect(arrived + dropped + Number(lost)).toBe(LINES);
});

test("a socket, as systemd's journal is, gets every line, or is told how many are missing", async () => {
  const { child } = startWriter("pipe", 1000);
  let text = "";
  child.stdout!.setEncoding("utf8").on("data", (piece: string) => (text += piece));
  await once(child, "close");
  const { arrived, dropped } = countLines(text);
  expect(arrived + dropped).toBe(LINES);
});
