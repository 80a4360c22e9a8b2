import { createHash, randomBytes, type Hash } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { buildHydrateScript, startSsrApp, type SsrApp } from "../fixtures/ssr-app/app.ts";
import { BuiltTunnels } from "../support/built-tunnels.ts";
import { openChromium, screenshot } from "../support/chromium.ts";
import { hasProgram } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { openWatchedPage } from "../support/watched-page.ts";

const MIB = 1024 * 1024;

const hasChromium = hasProgram("chromium");
const skipped = hasChromium ? "" : " (skipped: needs chromium)";

describe.skipIf(!hasChromium)(`an app rendered on the server in a browser${skipped}`, () => {
  let tunnels: BuiltTunnels;
  let browser: Browser;
  let hydrateScript: string;
  let app: SsrApp;

  beforeAll(async () => {
    hydrateScript = await buildHydrateScript();
    tunnels = await BuiltTunnels.start("localhost");
    browser = await openChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await tunnels?.[Symbol.asyncDispose]();
  });

  test("a streamed page is shown and works before its late part, which comes in the same answer", async () => {
    const { page, problems } = await visit("streamed");
    await page.getByRole("heading", { name: "Home" }).waitFor();
    await page.getByText("The story is on its way…").waitFor();
    await page.getByText("The end of the page is here").waitFor();
    const count = page.locator("#count");
    await count.click();
    await page.locator("#count", { hasText: "1" }).waitFor();
    expect(await page.locator("#story").count()).toBe(0);
    await screenshot(page, "ssr-shell");

    const text = 'Once upon a time: "ünïcødé" </script> 🐉';
    app.tellStory(text);
    await page.locator("#story").waitFor();
    expect(await page.locator("#story").textContent()).toBe(text);
    expect(await page.locator("#waiting").count()).toBe(0);
    await page.waitForLoadState("load");
    // What the page had in memory is still there, and it works on.
    await count.click();
    await page.locator("#count", { hasText: "2" }).waitFor();
    expect(app.visits.map(({ path }) => path)).toEqual(["/", "/hydrate.js"]);
    expect(problems).toEqual([]);
    await screenshot(page, "ssr-late");
  });

  test("a form leads to the page behind its redirect, with both cookies, and a reload sends it no second time", async () => {
    const { page, problems, url } = await visit("form", "guestbook", ["--host-header", "target"]);
    await page.getByLabel("Name").fill("Ada & Söhne");
    await page.getByLabel("Message").fill("<b>2 + 2</b>\n= 4?");
    await page.getByRole("button", { name: "Sign" }).click();
    await page.locator("#visitor", { hasText: "Ada & Söhne" }).waitFor();
    await page.reload();
    expect(page.url()).toBe(`${url}guestbook`);
    expect(await page.locator("li").allTextContents()).toEqual(["Ada & Söhne: <b>2 + 2</b>\n= 4?"]);
    await screenshot(page, "ssr-guestbook");

    const cookies = "visitor=Ada%20%26%20S%C3%B6hne; entries=1";
    expect(app.visits.map(({ method, headers, status }) => [method, status(), headers.cookie])).toEqual([
      ["GET", 200, undefined],
      ["POST", 303, undefined],
      ["GET", 200, cookies],
      ["GET", 200, cookies],
    ]);
    expect(await page.context().cookies(url)).toMatchObject([
      { name: "visitor", httpOnly: true, sameSite: "Lax", secure: false, domain: new URL(url).hostname },
      { name: "entries", httpOnly: false, secure: false, domain: new URL(url).hostname },
    ]);
    expect(problems).toEqual([]);
  });

  test("an answer is read line by line as it is made, and giving it up reaches the app", async () => {
    const { page, problems } = await visit("answers", "live");
    const { request, response } = await asked(page, "/answers", "Ask");
    expect(request.headers["content-type"]).toBe("application/json");
    response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    const line = Buffer.from('{"token":"drei 🐉"}\n');
    response.write('{"token":"one"}\n{"tok');
    await listIs(page, "answers", ["one"]);
    response.write('en":"two"}\n');
    await listIs(page, "answers", ["one", "two"]);
    // The dragon is four octets, and here it is in two pieces.
    response.write(line.subarray(0, 17));
    response.write(line.subarray(17));
    await listIs(page, "answers", ["one", "two", "drei 🐉"]);
    response.end();
    await page.locator("#asked", { hasText: "finished" }).waitFor();

    const second = await asked(page, "/answers", "Ask");
    second.response.write('{"token":"four"}\n');
    await listIs(page, "answers", ["one", "two", "drei 🐉", "four"]);
    const left = once(second.response, "close");
    await page.getByRole("button", { name: "Stop" }).click();
    await left;
    expect(second.response.writableFinished).toBe(false);
    await page.locator("#asked", { hasText: "AbortError" }).waitFor();
    expect(problems).toEqual([]);
  });

  test("an answer that breaks off is an error to the page, and no end", async () => {
    const { page, problems } = await visit("cut", "live");
    const { response } = await asked(page, "/answers", "Ask");
    response.write('{"token":"one"}\n');
    await listIs(page, "answers", ["one"]);
    response.destroy();
    await page.locator("#asked", { hasText: "TypeError" }).waitFor();
    expect(problems).toEqual([expect.stringContaining("ERR_INCOMPLETE_CHUNKED_ENCODING")]);
  });

  test("events come one by one, and a stream that has ended is taken up behind its last event", async () => {
    const { page, problems } = await visit("events", "live");
    const first = await asked(page, "/events", "Listen");
    expect(first.request.headers["last-event-id"]).toBeUndefined();
    first.response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    first.response.write("retry: 1\n\n");
    for (const id of [1, 2]) {
      first.response.write(`id: ${id}\ndata: made now\n\n`);
      await page.locator("#events li", { hasText: `${id}: made now` }).waitFor();
    }
    const again = app.next("/events");
    first.response.end();
    const second = await again;
    expect(second.request.headers["last-event-id"]).toBe("2");
    second.response.writeHead(200, { "Content-Type": "text/event-stream" });
    second.response.write("id: 3\ndata: after the end\n\n");
    await listIs(page, "events", ["1: made now", "2: made now", "3: after the end"]);

    // A visitor that goes elsewhere ends the stream.
    const left = once(second.response, "close");
    await page.getByRole("link", { name: "Guestbook" }).click();
    await left;
    expect(problems).toEqual([]);
  });

  test("an upload's progress is that of the app's reading", async () => {
    const { page, problems } = await visit("upload", "live");
    const content = randomBytes(64 * MIB);
    const path = join(await temporaryDirectory(), "big.bin");
    await writeFile(path, content);
    const progress = page.locator("#progress");
    const next = app.next("/files");
    await page.getByLabel("File").setInputFiles(path);
    const { request, response } = await next;
    expect(request.headers["content-length"]).toBe(String(content.length));
    const hash = createHash("sha256");
    for (let read = 0; read < 8 * MIB;) {
      read += await readSome(request, hash);
      await page.waitForFunction(`document.getElementById("progress").value >= ${read}`);
    }
    // What lies between the browser and the app is less than the rest.
    expect(Number(await progress.getAttribute("value"))).toBeLessThan(content.length);
    await screenshot(page, "ssr-upload");

    for await (const chunk of request) hash.update(chunk as Buffer);
    response.writeHead(201).end(hash.digest("hex"));
    await page.locator("#uploaded", { hasText: `201 ${sha256(content)}` }).waitFor();
    expect(Number(await progress.getAttribute("value"))).toBe(content.length);
    expect(problems).toEqual([]);
  });

  test("a file comes in parts, from the browser's cache once the app says so, and as a download", async () => {
    const { page, problems } = await visit("file", "live");
    const { file } = app;
    const whole = `200 null ${sha256(file)}`;
    const part = `206 bytes 1000-1999/${file.length} ${sha256(file.subarray(1000, 2000))}`;
    const expected: string[] = [];
    for (const [button, line] of [
      ["Read a part", part],
      ["Read all", whole],
      ["Read all", whole],
      ["Read a part", part],
    ] as const) {
      await page.getByRole("button", { name: button }).click();
      expected.push(line);
      await listIs(page, "read", expected);
    }
    const visits = app.visits.filter(({ path }) => path === "/file");
    expect(visits[0]).toMatchObject({ headers: { range: "bytes=1000-1999" } });
    // Chromium puts the whole together from the part that it has and those that it lacks.
    expect(visits.find(({ headers }) => headers["if-range"] !== undefined)?.status()).toBe(206);
    expect(visits.slice(-2).map(({ status }) => status())).toEqual([304, 304]);

    const downloading = page.waitForEvent("download");
    await page.getByRole("link", { name: "Download" }).click();
    const download = await downloading;
    expect(download.suggestedFilename()).toBe("grüße.bin");
    expect((await readFile(await download.path())).equals(file)).toBe(true);
    expect(problems).toEqual([]);
  });

  test("back and forward lead through the pages, each of which works again", async () => {
    const { page, problems, url } = await visit("history");
    app.tellStory("A short one");
    await page.locator("#story", { hasText: "A short one" }).waitFor();
    await page.getByRole("link", { name: "Guestbook" }).click();
    await page.getByRole("heading", { name: "Guestbook" }).waitFor();
    await page.getByRole("link", { name: "Live" }).click();
    await page.getByRole("heading", { name: "Live" }).waitFor();
    await page.goBack();
    await page.goBack();
    expect(page.url()).toBe(url);
    await page.locator("#story", { hasText: "A short one" }).waitFor();
    await page.locator("#count").click();
    await page.locator("#count", { hasText: "1" }).waitFor();
    await page.goForward();
    expect(page.url()).toBe(`${url}guestbook`);
    await page.getByRole("heading", { name: "Guestbook" }).waitFor();
    expect(problems).toEqual([]);
  });

  /** A page of a new app, which is served under this name. */
  async function visit(
    subdomain: string,
    path = "",
    flags: string[] = [],
  ): Promise<{ page: Page; problems: string[]; url: string }> {
    const started = await startSsrApp(hydrateScript);
    onTestFinished(() => started[Symbol.asyncDispose]());
    app = started;
    const url = await tunnels.serve(started.port, subdomain, flags);
    const opened = await openWatchedPage(browser);
    onTestFinished(() => opened[Symbol.asyncDispose]());
    const { page, problems } = opened;
    await page.goto(url + path, { waitUntil: path === "" ? "commit" : "load" });
    return { page, problems, url };
  }

  /** The request that a button makes. */
  async function asked(page: Page, path: string, button: string): ReturnType<SsrApp["next"]> {
    const next = app.next(path);
    await page.getByRole("button", { name: button }).click();
    return next;
  }
});

async function listIs(page: Page, list: string, items: string[]): Promise<void> {
  await page.locator(`#${list} li:nth-child(${items.length})`).waitFor();
  expect(await page.locator(`#${list} li`).allTextContents()).toEqual(items);
}

/** Reads as much of a body as is there, and then no more. */
async function readSome(request: IncomingMessage, hash: Hash): Promise<number> {
  let chunk: Buffer | null;
  while ((chunk = request.read() as Buffer | null) === null) await once(request, "readable");
  hash.update(chunk);
  return chunk.length;
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
