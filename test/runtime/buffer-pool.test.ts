import { spawnSync } from "node:child_process";
import { beforeAll, expect, test } from "vitest";
import { keepBufferBlocksSmall } from "../../runtime/buffer-pool.ts";
import { CLIENT, SERVER } from "../support/processes.ts";

beforeAll(() => {
  const { poolSize } = Buffer;
  keepBufferBlocksSmall();
  // The block in use is used up first.
  for (let bytes = 0; bytes < poolSize; bytes += 1024) Buffer.allocUnsafe(1024);
  return () => {
    Buffer.poolSize = poolSize;
  };
});

const MAKING: [string, (bytes: Buffer) => Buffer][] = [
  ["a copy", (bytes) => Buffer.from(bytes)],
  ["a join", (bytes) => Buffer.concat([bytes.subarray(1), bytes.subarray(0, 1)])],
  ["a text", (bytes) => Buffer.from(bytes.toString("latin1"), "latin1")],
  ["room", (bytes) => Buffer.allocUnsafe(bytes.length)],
];

test.each(MAKING)("%s keeps not much more in memory than itself", (_, make) => {
  for (const length of [1, 100, 1000, 4095, 4096, 10_000, 32_767, 32_768]) {
    const made = make(Buffer.alloc(length, "x"));
    expect(made.length).toBe(length);
    expect(made.buffer.byteLength).toBeLessThanOrEqual(length < 4096 ? 8192 : length);
  }
});

/** As Node 24 begins. */
const LARGE_BLOCKS =
  'data:text/javascript,Buffer.poolSize = 65536; process.on("exit", () => console.error(`blocks of ${Buffer.poolSize}`))';

test.each([
  ["server", SERVER, "--config"],
  ["client", CLIENT, "--key-file"],
])("the %s sets it before anything else", (_, program, option) => {
  const args = ["--import", LARGE_BLOCKS, program, option, "/nowhere"];
  const { stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  expect(stderr).toContain("blocks of 8192");
});
