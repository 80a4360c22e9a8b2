import { execFile } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { textsFor } from "../../demo/texts.ts";
import { openChromium } from "../support/chromium.ts";
import { startProgram, type Program } from "../support/processes.ts";
import { hasProgram } from "../support/programs.ts";

const DEMO = join(import.meta.dirname, "../../dist/demo/main.js");
const run = promisify(execFile);

const hasCurl = hasProgram("curl");
const hasChromium = hasProgram("chromium");

describe.skipIf(!hasCurl)(`the demo's own words${hasCurl ? "" : " (skipped: needs curl)"}`, () => {
  test("the printed curl line shows the sample app, and Ctrl-C ends everything with exit code 0", async () => {
    await using demo = startProgram(DEMO, []);
    const { curl, localhost } = await announced(demo);
    const { stdout } = await run("sh", ["-c", `${curl} --silent --show-error`]);
    expect(stdout).toContain("<title>Culvert sample app</title>");
    const byLocalhost = await run("curl", ["--silent", localhost]);
    expect(byLocalhost.stdout).toContain("<title>Culvert sample app</title>");
    demo.kill("SIGINT");
    expect(await demo.exited).toEqual({ code: 0, signal: null });
  });

  test("with a port, what listens there is shown instead", async () => {
    const service = createServer((_, response) => response.end("my own app"));
    await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void service.close());
    await using demo = startProgram(DEMO, [String((service.address() as AddressInfo).port)]);
    const { curl } = await announced(demo);
    const { stdout } = await run("sh", ["-c", `${curl} --silent --show-error`]);
    expect(stdout).toBe("my own app");
    demo.kill("SIGTERM");
    expect(await demo.exited).toEqual({ code: 0, signal: null });
  });
});

test.skipIf(!hasChromium)(
  `in a browser, at the printed address, every card works through the tunnel${hasChromium ? "" : " (skipped: needs chromium)"}`,
  async () => {
    await using demo = startProgram(DEMO, []);
    const { url } = await announced(demo);
    const browser = await openChromium();
    onTestFinished(() => browser.close());
    const page = await browser.newPage({ locale: "en-GB" });
    await page.goto(url);
    const works = textsFor("en").summary.works.replace("{total}", "5");
    await page.locator("#summary", { hasText: works }).waitFor();
    demo.kill("SIGINT");
    expect(await demo.exited).toEqual({ code: 0, signal: null });
  },
);

/** What the demo prints once it is up. */
async function announced(demo: Program): Promise<{ url: string; localhost: string; curl: string }> {
  await demo.printed("Ctrl-C stops everything");
  return {
    url: /^ +(http:\/\/demo\.localhost:\d+\/)$/m.exec(demo.output())![1]!,
    localhost: /^ +or (http:\/\/localhost:\d+\/)/m.exec(demo.output())![1]!,
    curl: /^ +(curl -H .*)$/m.exec(demo.output())![1]!,
  };
}
