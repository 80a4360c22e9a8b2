import { join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";

const CHROMIUM = "/usr/bin/chromium";

const LAUNCH_ARGUMENTS = [
  // Chromium's sandbox does not run as root, as which container builds run.
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  // A test talks to the page and to nobody else.
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export function openChromium(...more: string[]): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, headless: true, args: [...LAUNCH_ARGUMENTS, ...more] });
}

/** Writes a picture of the whole page into the directory that `SCREENSHOTS` names, if it names one. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const directory = process.env["SCREENSHOTS"];
  if (directory) await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true });
}
