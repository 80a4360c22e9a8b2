import { expect, test } from "vitest";
import { cutBytes } from "../../runtime/printable.ts";

test.each([
  ["", 8, ""],
  ["12345678", 8, "12345678"],
  ["123456789", 8, "12345…"],
  ["ääää", 8, "ääää"],
  ["ääääa", 8, "ää…"],
  ["1234😀56", 8, "1234…"],
])("%j in %d bytes is %j", (text, limit, expected) => {
  expect(cutBytes(text, limit)).toBe(expected);
});
