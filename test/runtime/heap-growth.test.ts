import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

// A flag of V8 that is no more is said on standard error, and ignored.
test("this version of Node.js knows the flag", async () => {
  const module = new URL("../../dist/runtime/heap-growth.js", import.meta.url).href;
  const script = `import { letHeapGrow } from ${JSON.stringify(module)}; letHeapGrow();`;
  const { stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  expect(stderr).toBe("");
});
