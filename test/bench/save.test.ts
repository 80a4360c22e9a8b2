import { expect, test } from "vitest";
import { withFigures } from "../../bench/save.ts";

const BEGIN = "<!-- figures: written by npm run bench -- --save -->";
const END = "<!-- end of figures -->";

test("new figures take the place of old ones, and the rest of the page stays", () => {
  const page = `# Page\n\n${BEGIN}\n\nold\n\n${END}\n\nmore\n`;
  const written = withFigures(page, ["new"]);
  expect(written).toBe(`# Page\n\n${BEGIN}\n\nnew\n\n${END}\n\nmore\n`);
  expect(withFigures(written, ["new"])).toBe(written);
});

test("a page without a place for figures is refused", () => {
  expect(() => withFigures("# Page\n", ["new"])).toThrow("expected a line");
});
