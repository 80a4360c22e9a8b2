import type { Browser, Page } from "playwright-core";

/** Less than a test may take, so that what did not come is named. */
export const COMES_WITHIN_MS = 20_000;

/** A page in a browser context of its own. */
export interface WatchedPage extends AsyncDisposable {
  page: Page;
  /** Errors that the page threw, and what it or the browser complained of on its console. */
  problems: string[];
}

export async function openWatchedPage(browser: Browser): Promise<WatchedPage> {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(COMES_WITHIN_MS);
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") problems.push(message.text());
  });
  return { page, problems, [Symbol.asyncDispose]: () => context.close() };
}
