import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { LineWriter, type LineWriterOptions } from "../../runtime/line-writer.ts";

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

/** Both ends of a pipe. Reading never waits; writing does, as in a pipe that a shell has made. */
function openPipe(): { reader: number; writer: number } {
  const fifo = path.join(directory, "fifo");
  execFileSync("mkfifo", [fifo]);
  const { O_RDONLY, O_WRONLY, O_NONBLOCK } = fs.constants;
  const reader = openFile(fifo, O_RDONLY | O_NONBLOCK);
  return { reader, writer: openFile(fifo, O_WRONLY) };
}

function lineWriter(fd: number, options: Partial<LineWriterOptions> = {}): LineWriter {
  return new LineWriter(fd, { missing: (lines) => `missing ${lines}\n`, ...options });
}

/** A pipe of another user cannot be opened once more. */
function refuseToReopen() {
  const original = fs.openSync;
  vi.spyOn(fs, "openSync").mockImplementation((file, ...rest) => {
    if (String(file).startsWith("/proc/self/fd/")) throw Object.assign(new Error("no"), { code: "EACCES" });
    return original(file, ...rest);
  });
}

function readWhatIsThere(fd: number): string {
  const buffer = Buffer.alloc(100_000);
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
  const writer = lineWriter(openFile(file, "w"));
  for (const line of numbered(500)) writer.write(line);
  expect(writes).not.toHaveBeenCalled();
  await vi.waitFor(() => expect(fs.readFileSync(file, "utf8")).toBe(numbered(500).join("")));
  expect(writes).toHaveBeenCalledTimes(1);
});

test("lines that follow soon after a write gather for 20 ms; one after a pause leaves at once", async () => {
  vi.useFakeTimers({ toFake: ["performance", "setTimeout"] });
  const file = path.join(directory, "log");
  const contents = () => fs.readFileSync(file, "utf8");
  const writer = lineWriter(openFile(file, "w"));
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
  const writer = lineWriter(openFile(file, "w"));
  for (const line of numbered(10)) writer.write(line);
  writer.flushSync();
  expect(fs.readFileSync(file, "utf8")).toBe(numbered(10).join(""));
});

test("at the exit a write under way and what gathered behind it are both written, in whole lines", async () => {
  const file = path.join(directory, "log");
  const writer = lineWriter(openFile(file, "a"));
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

describe.each(["a pipe", "another user's pipe"])("%s", (whose) => {
  beforeEach(() => {
    if (whose !== "a pipe") refuseToReopen();
  });

  test("a reader that is slow gets every line, in order, and is no failure", async () => {
    const pipe = openPipe();
    const failures: unknown[] = [];
    const writer = lineWriter(pipe.writer, { onFailure: (error) => failures.push(error) });
    const expected = numbered(5000).join("");
    for (const line of numbered(5000)) writer.write(line);
    let received = "";
    while (received.length < expected.length) {
      received += readWhatIsThere(pipe.reader);
      await turn();
    }
    expect(received).toBe(expected);
    expect(writer.droppedLines).toBe(0);
    expect(failures).toEqual([]);
  });

  test("what finds no room is dropped, and said where the next line follows", async () => {
    const pipe = openPipe();
    const writer = lineWriter(pipe.writer);
    const lines = numbered(60_000);
    for (const line of lines) writer.write(line);
    const { droppedLines } = writer;
    expect(droppedLines).toBeGreaterThan(0);
    let received = "";
    while (!received.includes("\n", 1_000_000)) {
      received += readWhatIsThere(pipe.reader);
      await turn();
    }
    writer.write("next\n");
    while (!received.endsWith("next\n")) {
      received += readWhatIsThere(pipe.reader);
      await turn();
    }
    const arrived = lines.slice(0, -droppedLines);
    expect(received).toBe([...arrived, `missing ${droppedLines}\n`, "next\n"].join(""));
    expect(writer.droppedLines).toBe(0);
  });

  test("what has been dropped is said without a next line, too", async () => {
    const pipe = openPipe();
    const writer = lineWriter(pipe.writer);
    for (const line of numbered(60_000)) writer.write(line);
    const { droppedLines } = writer;
    let received = "";
    while (!received.endsWith(`missing ${droppedLines}\n`)) {
      received += readWhatIsThere(pipe.reader);
      await turn();
    }
    expect(writer.droppedLines).toBe(0);
  });
});

test("a pipe gets in one turn what it has room for", async () => {
  const pipe = openPipe();
  const lines = numbered(500).join("");
  const writer = lineWriter(pipe.writer);
  for (const line of numbered(500)) writer.write(line);
  await turn();
  expect(readWhatIsThere(pipe.reader)).toBe(lines);
});

test("a pipe whose reader has stopped holds up no thread", async () => {
  const pipe = openPipe();
  const elsewhere = vi.spyOn(fs, "write");
  const writer = lineWriter(pipe.writer);
  for (const line of numbered(2000)) writer.write(line);
  const before = performance.now();
  while (performance.now() < before + 100) await turn();
  expect(elsewhere).not.toHaveBeenCalled();
  expect(readWhatIsThere(pipe.reader)).toMatch(/^line 0 .*\n$/s);
});

test("two that write to one pipe tear none of each other's lines, however slow it is read", async () => {
  const pipe = openPipe();
  const writers = ["a", "b"].map((name) => ({ name, writer: lineWriter(pipe.writer) }));
  const lines = numbered(5000);
  for (const { name, writer } of writers) for (const line of lines) writer.write(name + line);
  const total = 2 * lines.join("").length + 2 * lines.length;
  let received = "";
  while (received.length < total) {
    received += readWhatIsThere(pipe.reader);
    await turn();
  }
  const read = received.split(/(?<=\n)/);
  for (const { name } of writers)
    expect(read.filter((line) => line.startsWith(name))).toEqual(lines.map((line) => name + line));
});

test("while lines come faster than they are read, it is said once a second how many are missing", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const pipe = openPipe();
  const writer = lineWriter(pipe.writer);
  let written = 0;
  let received = "";
  const write = (lines: number) => {
    for (let i = 0; i < lines; i++) writer.write(`${"x".repeat(999)}\n`);
    written += lines;
  };
  write(5000);
  for (let tenth = 0; tenth < 40; tenth++) {
    vi.advanceTimersByTime(100);
    const { length } = received;
    while (received.length === length) {
      await turn();
      received += readWhatIsThere(pipe.reader);
    }
    write(500);
  }
  while (writer.droppedLines > 0) {
    received += readWhatIsThere(pipe.reader);
    await turn();
  }
  writer.write("last\n");
  while (!received.endsWith("last\n")) {
    received += readWhatIsThere(pipe.reader);
    await turn();
  }
  const missing = Array.from(received.matchAll(/missing (\d+)\n/g), ([, lines]) => Number(lines));
  expect(received.match(/x\n/g)!.length + missing.reduce((a, b) => a + b)).toBe(written);
  // Four seconds, and what is said when all has been read.
  expect(missing.length).toBeGreaterThanOrEqual(4);
  expect(missing.length).toBeLessThanOrEqual(6);
});

test("a reader that reads nothing costs a bounded amount of memory; the lines without room are counted", async () => {
  const pipe = openPipe();
  const writer = lineWriter(pipe.writer);
  const line = `${"x".repeat(1 << 20)}\n`;
  for (let i = 0; i < 4; i++) writer.write(line);
  expect(writer.droppedLines).toBe(1);
  fs.closeSync(open.shift()!);
  writer.flushSync();
});

test.each(["at first", "later"])(
  "a pipe that is closed %s is said once, and then all lines are dropped",
  async (when) => {
    const pipe = openPipe();
    if (when === "at first") fs.closeSync(open.shift()!);
    const told: unknown[] = [];
    const writer = lineWriter(pipe.writer, {
      onFailure: (error) => told.push(error.code),
      onLost: (lines) => told.push(lines),
    });
    if (when === "later") fs.closeSync(open.shift()!);
    writer.write("a\n");
    await vi.waitFor(() => expect(told).toEqual(["EPIPE"]));
    const writes = [vi.spyOn(fs, "write"), vi.spyOn(fs, "writeSync")];
    writer.write("b\n");
    writer.write("c\n");
    await turn();
    for (const write of writes) expect(write).not.toHaveBeenCalled();
    expect(writer.droppedLines).toBe(3);
    writer.flushSync();
    expect(told).toEqual(["EPIPE", 3]);
  },
);

test("a full disk ends neither the process nor its exit", async () => {
  const told: unknown[] = [];
  const writer = lineWriter(openFile("/dev/full", "w"), {
    onFailure: (error) => told.push(error.code),
    onLost: (lines) => told.push(lines),
  });
  writer.write("a\n");
  await vi.waitFor(() => expect(told).toEqual(["ENOSPC"]));
  writer.write("b\n");
  writer.flushSync();
  expect(told).toEqual(["ENOSPC", 2]);
});

test("when the disk has room again, what waited is written, and it is said what was lost", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  const file = path.join(directory, "log");
  const told: unknown[] = [];
  const full = failWrites();
  const writer = lineWriter(openFile(file, "w"), {
    onFailure: (error) => told.push(error.code),
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
  await vi.waitFor(() => expect(fs.readFileSync(file, "utf8")).toBe("first\nsecond\nmissing 1\n"));
  expect(told).toEqual(["ENOSPC"]);
});

test("at the exit, what waits to be tried again comes first", async () => {
  const file = path.join(directory, "log");
  const full = failWrites();
  const failures: unknown[] = [];
  const writer = lineWriter(openFile(file, "w"), { onFailure: (error) => failures.push(error.code) });
  writer.write("first\n");
  await vi.waitFor(() => expect(failures).toEqual(["ENOSPC"]));
  full.mockRestore();
  writer.write("second\n");
  writer.flushSync();
  expect(fs.readFileSync(file, "utf8")).toBe("first\nsecond\n");
});
