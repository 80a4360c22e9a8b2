import { readFileSync, writeFileSync } from "node:fs";
import { cp } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createServer } from "vite";
import { BuiltTunnels } from "../support/built-tunnels.ts";
import { openChromium, screenshot } from "../support/chromium.ts";
import { hasProgram } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { COMES_WITHIN_MS, openWatchedPage } from "../support/watched-page.ts";

const FIXTURE = join(import.meta.dirname, "../fixtures/vite-app");
/** Vite lets every name under localhost in; a name that it does not know takes another domain. */
const DOMAIN = "tunnel.test";

const hasChromium = hasProgram("chromium");
const skipped = hasChromium ? "" : " (skipped: needs chromium)";

describe.skipIf(!hasChromium)(`a Vite development server in a browser${skipped}`, () => {
  let tunnels: BuiltTunnels;
  let browser: Browser;

  beforeAll(async () => {
    tunnels = await BuiltTunnels.start(DOMAIN);
    browser = await openChromium(`--host-resolver-rules=MAP *.${DOMAIN} 127.0.0.1`);
  });
  afterAll(async () => {
    await browser?.close();
    await tunnels?.[Symbol.asyncDispose]();
  });

  test("modules, styles and a dynamic import come, and edits show without a reload", async () => {
    const app = await startViteApp();
    const url = await tunnels.serve(app.port, "edits", ["--host-header", "target"]);
    await using opened = await openWatchedPage(browser);
    const { page, problems } = opened;
    const seen = watchUpdates(page);
    await page.goto(url);
    await page.getByText("Hello from a module").waitFor();
    await colourIs(page, "rgb(0, 0, 200)");
    await page.getByRole("button", { name: "More" }).click();
    await page.getByText("Loaded when asked for").waitFor();
    await page.waitForFunction(`getComputedStyle(document.getElementById("details")).fontStyle === "italic"`);
    // In the page's memory, which a reload would lose.
    await page.locator("#count").click();
    await page.locator("#count", { hasText: "1" }).waitFor();
    await seen.connected(1);

    app.edit("greeting.ts", `export const greeting: string = "Edited while you watch";\n`);
    await page.getByText("Edited while you watch").waitFor();
    app.edit("style.css", "h1 { color: rgb(200, 0, 0); }\n");
    await colourIs(page, "rgb(200, 0, 0)");
    await page.locator("#count").click();
    expect(await page.locator("#count").textContent()).toBe("2");
    expect(seen.loads).toBe(1);
    await screenshot(page, "vite");

    const { host } = new URL(url);
    expect(seen.sockets).toEqual([expect.stringContaining(`ws://${host}/`)]);
    expect(new Set(seen.messages)).toEqual(new Set(["connected", "update"]));
    expect(problems).toEqual([]);
  });

  test("an edit of the page itself loads it anew, and its edits go on showing", async () => {
    const app = await startViteApp();
    const url = await tunnels.serve(app.port, "reload", ["--host-header", "target"]);
    await using opened = await openWatchedPage(browser);
    const { page, problems } = opened;
    const seen = watchUpdates(page);
    await page.goto(url);
    await page.locator("#count").click();
    await page.locator("#count", { hasText: "1" }).waitFor();
    await seen.connected(1);

    app.edit("index.html", (html) => html.replace("A Vite app", "A new page"));
    await page.getByRole("heading", { name: "A new page" }).waitFor();
    await seen.connected(2);
    expect(await page.locator("#count").textContent()).toBe("0");
    expect(seen.loads).toBe(2);

    app.edit("greeting.ts", `export const greeting: string = "Edited after the reload";\n`);
    await page.getByText("Edited after the reload").waitFor();
    const { host } = new URL(url);
    expect(seen.sockets).toEqual(Array(2).fill(expect.stringContaining(`ws://${host}/`)));
    expect(new Set(seen.messages)).toEqual(new Set(["connected", "full-reload", "update"]));
    expect(problems).toEqual([]);
  });

  test("without a host header of its own, Vite refuses the name that it does not know", async () => {
    const app = await startViteApp();
    const url = await tunnels.serve(app.port, "refused");
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    const answer = await page.goto(url);
    expect(answer?.status()).toBe(403);
    expect(await answer?.text()).toContain(
      `Blocked request. This host ("refused.${DOMAIN}") is not allowed.`,
    );
  });
});

/** A copy of the fixture, and Vite on it with nothing set but its address. */
async function startViteApp(): Promise<{
  port: number;
  edit(file: string, content: string | ((before: string) => string)): void;
}> {
  const root = await temporaryDirectory();
  await cp(FIXTURE, root, { recursive: true });
  const vite = await createServer({
    root,
    configFile: false,
    logLevel: "error",
    server: { host: "127.0.0.1", port: 0 },
  });
  onTestFinished(() => vite.close());
  await vite.listen();
  return {
    port: (vite.httpServer!.address() as AddressInfo).port,
    edit(file, content) {
      const path = join(root, file);
      // At once, so that Vite, in this process, never sees half of it.
      writeFileSync(path, typeof content === "string" ? content : content(readFileSync(path, "utf8")));
    },
  };
}

/** What Vite tells the page over its WebSockets, and how often the page was loaded. */
function watchUpdates(page: Page): {
  sockets: string[];
  messages: string[];
  readonly loads: number;
  /** Resolves once so many WebSockets have been greeted. */
  connected(count: number): Promise<void>;
} {
  const sockets: string[] = [];
  const messages: string[] = [];
  const waiting = new Set<() => void>();
  let loads = 0;
  page.on("domcontentloaded", () => loads++);
  page.on("websocket", (socket) => {
    sockets.push(socket.url());
    socket.on("framereceived", ({ payload }) => {
      messages.push((JSON.parse(String(payload)) as { type: string }).type);
      for (const look of waiting) look();
    });
  });
  return {
    sockets,
    messages,
    get loads() {
      return loads;
    },
    connected: (count) =>
      new Promise((resolve, reject) => {
        const late = () => reject(new Error(`only ${messages.join(", ")} from ${sockets.join(", ")}`));
        AbortSignal.timeout(COMES_WITHIN_MS).addEventListener("abort", late);
        const look = (): void => {
          if (messages.filter((type) => type === "connected").length >= count) resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

async function colourIs(page: Page, colour: string): Promise<void> {
  await page.waitForFunction(`getComputedStyle(document.querySelector("h1")).color === "${colour}"`);
}
