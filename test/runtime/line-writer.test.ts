import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LineWriter } from "../../runtime/line-writer.ts";

type WriteCallback = (error: NodeJS.ErrnoException | null, bytes: number) => void;

let directory: string;
const open: number[] = [];

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(tmpdir(), "lines-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  for (const fd of open.splice(0)) fs.closeSync(fd);
  fs.rmSync(directory, { recursive: true });
});

function openFile(file: string, flags: number | string): number {
  const fd = fs.openSync(file, flags);
  open.push(fd);
  return fd;
}

/** Both ends of a pipe; neither blocks. */
function openPipe(): { reader: number; writer: number } {
  const fifo = path.join(directory, "fifo");
  execFileSync("mkfifo", [fifo]);
  const { O_RDONLY, O_WRONLY, O_NONBLOCK } = fs.constants;
  const reader = openFile(fifo, O_RDONLY | O_NONBLOCK);
  return { reader, writer: openFile(fifo, O_WRONLY | O_NONBLOCK) };
}

function readWhatIsThere(fd: number): string {
  const buffer = Buffer.alloc(10_000);
  try {
    return buffer.toString("latin1", 0, fs.readSync(fd, buffer));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return "";
    throw error;
  }
}

/** Makes writes fail as on a full disk, until restored. */
function failWrites() {
  return vi.spyOn(fs, "write").mockImplementation((...args: unknown[]) => {
    const callback = args.at(-1) as (error: Error) => void;
    setImmediate(() => callback(Object.assign(new Error("full"), { code: "ENOSPC" })));
  });
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const numbered = (count: number) => Array.from({ length: count }, (_, i) => `line ${i} ${"x".repeat(90)}\n`);

test("the lines of a turn leave in one write, without making the writer wait", async () => {
  const file = path.join(directory, "log");
  const writes = vi.spyOn(fs, "write");
  const writer = new LineWriter(openFile(file, "w"));
  for (const line of numbered(500)) writer.write(line);
  expect(writes).not.toHaveBeenCalled();
  await vi.waitFor(() => expect(fs.readFileSync(file, "utf8")).toBe(numbered(500).join("")));
  expect(writes).toHaveBeenCalledTimes(1);
});

test("lines that follow soon after a write gather for 20 ms; one after a pause leaves at once", async () => {
  vi.useFakeTimers({ toFake: ["performance", "setTimeout"] });
  const file = path.join(directory, "log");
  const contents = () => fs.readFileSync(file, "utf8");
  const writer = new LineWriter(openFile(file, "w"));
  const written = async (text: string) => {
    while (contents() !== text) await turn();
  };
  writer.write("first\n");
  await written("first\n");
  await turn();
  const writes = vi.spyOn(fs, "write");
  for (const line of ["second\n", "third\n"]) {
    writer.write(line);
    await turn();
  }
  vi.advanceTimersByTime(19);
  await turn();
  expect(writes).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  await written("first\nsecond\nthird\n");
  expect(writes).toHaveBeenCalledTimes(1);
  await turn();
  vi.advanceTimersByTime(20);
  writer.write("fourth\n");
  await written("first\nsecond\nthird\nfourth\n");
});

test("what waits is written at the exit", () => {
  const file = path.join(directory, "log");
  const writer = new LineWriter(openFile(file, "w"));
  for (const line of numbered(10)) writer.write(line);
  writer.flushSync();
  expect(fs.readFileSync(file, "utf8")).toBe(numbered(10).join(""));
});

test("at the exit a write under way and what gathered behind it are both written, in whole lines", async () => {
  const file = path.join(directory, "log");
  const writer = new LineWriter(openFile(file, "a"));
  const lines = numbered(2000);
  for (const line of lines.slice(0, 1000)) writer.write(line);
  await turn();
  for (const line of lines.slice(1000)) writer.write(line);
  writer.flushSync();
  await vi.waitFor(() => {
    const written = fs.readFileSync(file, "utf8").split(/(?<=\n)/);
    expect(written.sort()).toEqual(lines.sort());
  });
});

test("a reader that is slow gets every line, in order, and is no failure", async () => {
  const pipe = openPipe();
  const failures: unknown[] = [];
  const writer = new LineWriter(pipe.writer, { onFailure: (error) => failures.push(error) });
  const expected = numbered(5000).join("");
  const original = fs.write;
  const full = new Promise<void>((resolve) => {
    vi.spyOn(fs, "write").mockImplementation(((fd: number, data: Buffer, callback: WriteCallback) =>
      original(fd, data, (error, bytes) => {
        if (error) resolve();
        callback(error, bytes);
      })) as typeof fs.write);
  });
  for (const line of numbered(5000)) writer.write(line);
  await full;
  let received = "";
  while (received.length < expected.length) {
    received += readWhatIsThere(pipe.reader);
    await turn();
  }
  expect(received).toBe(expected);
  expect(writer.droppedLines).toBe(0);
  expect(failures).toEqual([]);
});

test("a reader that reads nothing costs a bounded amount of memory; the lines without room are counted", async () => {
  const pipe = openPipe();
  const writer = new LineWriter(pipe.writer);
  const line = `${"x".repeat(1 << 20)}\n`;
  for (let i = 0; i < 4; i++) writer.write(line);
  expect(writer.droppedLines).toBe(1);
  fs.closeSync(open.shift()!);
  writer.flushSync();
});

test("a closed pipe is said once, and then all lines are dropped", async () => {
  const pipe = openPipe();
  fs.closeSync(open.shift()!);
  const failures: unknown[] = [];
  const writes = vi.spyOn(fs, "write");
  const writer = new LineWriter(pipe.writer, { onFailure: (error) => failures.push(error.code) });
  writer.write("a\n");
  await vi.waitFor(() => expect(failures).toEqual(["EPIPE"]));
  writer.write("b\n");
  writer.write("c\n");
  await turn();
  expect(writes).toHaveBeenCalledTimes(1);
  expect(writer.droppedLines).toBe(3);
  writer.flushSync();
});

test("a full disk ends neither the process nor its exit", async () => {
  const failures: unknown[] = [];
  const writer = new LineWriter(openFile("/dev/full", "w"), {
    onFailure: (error) => failures.push(error.code),
  });
  writer.write("a\n");
  await vi.waitFor(() => expect(failures).toEqual(["ENOSPC"]));
  writer.write("b\n");
  writer.flushSync();
  expect(failures).toHaveLength(1);
});

test("when the disk has room again, what waited is written, and it is said what was lost", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  const file = path.join(directory, "log");
  const told: unknown[] = [];
  const full = failWrites();
  const writer = new LineWriter(openFile(file, "w"), {
    onFailure: (error) => told.push(error.code),
    onRecovery: (dropped) => told.push(dropped),
  });
  writer.write("first\n");
  await vi.waitFor(() => expect(told).toEqual(["ENOSPC"]));
  writer.write("second\n");
  writer.write(`${"x".repeat(5 << 20)}\n`);
  await vi.advanceTimersByTimeAsync(1000);
  await turn();
  expect(full).toHaveBeenCalledTimes(2);
  full.mockRestore();
  await vi.advanceTimersByTimeAsync(1000);
  await vi.waitFor(() => expect(fs.readFileSync(file, "utf8")).toBe("first\nsecond\n"));
  expect(told).toEqual(["ENOSPC", 1]);
});

test("at the exit, what waits to be tried again comes first", async () => {
  const file = path.join(directory, "log");
  const full = failWrites();
  const failures: unknown[] = [];
  const writer = new LineWriter(openFile(file, "w"), { onFailure: (error) => failures.push(error.code) });
  writer.write("first\n");
  await vi.waitFor(() => expect(failures).toEqual(["ENOSPC"]));
  full.mockRestore();
  writer.write("second\n");
  writer.flushSync();
  expect(fs.readFileSync(file, "utf8")).toBe("first\nsecond\n");
});
