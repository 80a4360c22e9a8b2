import { expect, test } from "vitest";
import { newRequestId } from "../../../server/edge/request-id.ts";

test("request ids are sixteen letters and digits, and never twice the same", () => {
  const ids = new Set(Array.from({ length: 10_000 }, newRequestId));
  expect(ids.size).toBe(10_000);
  for (const id of ids) expect(id).toMatch(/^[0-9a-hjkmnp-tv-z]{16}$/);
});
