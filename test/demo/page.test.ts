import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startSampleApp, type SampleApp } from "../../demo/sample-app.ts";
import { textsFor } from "../../demo/texts.ts";
import { openChromium, screenshot } from "../support/chromium.ts";
import { hasProgram } from "../support/programs.ts";

const hasChromium = hasProgram("chromium");
const skipped = hasChromium ? "" : " (skipped: needs /usr/bin/chromium)";

describe.skipIf(!hasChromium).concurrent(`the sample page in a browser${skipped}`, () => {
  let app: SampleApp;
  let browser: Browser;

  beforeAll(async () => {
    app = await startSampleApp({ port: 0 });
    browser = await openChromium();
  });
  afterAll(async () => {
    await browser.close();
    await app.close();
  });

  test.each([
    ["English", "en-GB", textsFor("en")],
    ["Chinese", "zh-CN", textsFor("zh")],
  ])("every card reports that it works, in %s", async (language, locale, texts) => {
    await using opened = await openPage({ locale, extraHTTPHeaders: { "x-forwarded-for": "203.0.113.7" } });
    const { page, problems } = opened;
    await summaryIs(page, texts.summary.works.replace("{total}", "5"));
    expect(await page.locator(".state").allTextContents()).toEqual(Array(5).fill(texts.state.works));
    expect(await page.locator("html").getAttribute("lang")).toBe(texts.lang);
    expect(problems).toEqual([]);
    await screenshot(page, `page-${language}`);
  });

  test("opened directly, the page says that no tunnel was passed", async () => {
    const texts = textsFor("en");
    await using opened = await openPage({});
    await summaryIs(opened.page, texts.summary.direct.replace("{total}", "4"));
    expect(await opened.page.locator("#request .state").textContent()).toBe(texts.state.direct);
  });

  test("a visitor's form, message and file are answered on the page", async () => {
    await using opened = await openPage({});
    const { page, problems } = opened;
    await page.getByLabel("Name").fill("<i>Grace</i>");
    await page.locator("#form button").click();
    await page.locator("#form dd", { hasText: "<i>Grace</i>" }).waitFor();

    await page.locator("#socket[data-state=works]").waitFor();
    await page.locator("#socket input").fill("a <b>message</b>");
    await page.locator("#socket button").click();
    await page.getByRole("log").getByText("a <b>message</b>").waitFor();

    await page.locator("#upload-file").setInputFiles({
      name: "abc.txt",
      mimeType: "text/plain",
      buffer: Buffer.from("abc"),
    });
    await page.locator("#upload button").click();
    // FIPS 180-4's own example.
    await page
      .locator("#upload .answer")
      .getByText("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
      .waitFor();
    expect(problems).toEqual([]);
  });

  test("a card whose part is broken says so, and the summary names it", async () => {
    await using opened = await openPage({}, async (page) => {
      await page.route("**/upload", (route) => route.fulfill({ json: { bytes: 1, sha256: "0" } }));
      await page.route("**/form", (route) => route.fulfill({ status: 502 }));
    });
    const { page } = opened;
    await summaryIs(page, "Not working: Form, File upload");
    expect(await page.locator("#form .detail").textContent()).toContain("502");
  });

  test("without JavaScript nothing claims to be checking", async () => {
    await using opened = await openPage({ javaScriptEnabled: false });
    const { page } = opened;
    await page.locator("noscript p").waitFor();
    expect(
      await page
        .getByText(/checking|waiting/i)
        .filter({ visible: true })
        .count(),
    ).toBe(0);
    await page.locator("#form button").click();
    await page.getByText(textsFor("en").form.answer).waitFor();
    await screenshot(page, "page-without-script");
  });

  test.each([
    ["dark", { colorScheme: "dark" as const }],
    ["narrow", { viewport: { width: 360, height: 740 } }],
    [
      "narrow-dark-Chinese",
      { viewport: { width: 360, height: 740 }, colorScheme: "dark" as const, locale: "zh-CN" },
    ],
  ])("nothing is wider than the window: %s", async (name, options) => {
    await using opened = await openPage({
      ...options,
      extraHTTPHeaders: {
        "x-forwarded-for": "2001:db8:85a3:8d3:1319:8a2e:370:7348",
        cookie: `a=${"x".repeat(300)}`,
      },
    });
    const { page } = opened;
    await page.locator("#summary[data-state=works]").waitFor();
    await page.locator("details summary").click();
    await page.locator("#upload-file").setInputFiles({
      name: "a.bin",
      mimeType: "application/octet-stream",
      buffer: Buffer.from("abc"),
    });
    await page.locator("#upload button").click();
    await page.locator("#upload .answer code").waitFor();
    const [inside, outside] = (await page.evaluate(
      "[document.documentElement.scrollWidth, document.documentElement.clientWidth]",
    )) as [number, number];
    expect(inside).toBeLessThanOrEqual(outside);
    const card = (await page.locator("#upload").boundingBox())!;
    const figures = (await page.locator("#upload .answer").boundingBox())!;
    expect(figures.x + figures.width).toBeLessThanOrEqual(card.x + card.width);
    expect(
      await page.evaluate(
        "[...document.querySelectorAll('.card')].filter((it) => it.scrollWidth > it.clientWidth)",
      ),
    ).toEqual([]);
    await screenshot(page, `page-${name}`);
  });

  async function openPage(
    options: BrowserContextOptions,
    prepare?: (page: Page) => Promise<void>,
  ): Promise<AsyncDisposable & { page: Page; problems: string[] }> {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") problems.push(message.text());
    });
    await prepare?.(page);
    await page.goto(`http://127.0.0.1:${app.port}/`);
    return { page, problems, [Symbol.asyncDispose]: () => context.close() };
  }
});

async function summaryIs(page: Page, text: string): Promise<void> {
  await page.locator("#summary").filter({ hasText: text }).waitFor();
  expect(await page.locator("#summary").textContent()).toBe(text);
}
