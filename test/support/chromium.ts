import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
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

/**
 * Whether Debian's Chromium is here; root on Debian gets it installed.
 * @throws where `CI` is set and there is none, so that a build never passes by skipping
 */
export function provideChromium(): boolean {
  if (existsSync(CHROMIUM)) return true;
  const installable = process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");
  try {
    if (installable) installChromium();
  } catch (error) {
    if (process.env["CI"]) throw error;
  }
  if (existsSync(CHROMIUM)) return true;
  if (process.env["CI"]) throw new Error(`no ${CHROMIUM}: install Debian's package chromium`);
  return false;
}

export function openChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, headless: true, args: LAUNCH_ARGUMENTS });
}

/** Writes a picture of the whole page into the directory that `SCREENSHOTS` names, if it names one. */
export async function screenshot(page: Page, name: string): Promise<void> {
  const directory = process.env["SCREENSHOTS"];
  if (directory) await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true });
}

function installChromium(): void {
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // Another test file may be at it already.
  const wait = ["-o", "DPkg::Lock::Timeout=300"];
  execFileSync("apt-get", [...wait, "update", "-qq"], { env: environment, stdio: "ignore" });
  execFileSync("apt-get", [...wait, "install", "-y", "-qq", "--no-install-recommends", "chromium"], {
    env: environment,
    stdio: "ignore",
  });
}
