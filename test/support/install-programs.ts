import { execFileSync } from "node:child_process";
import { isOnPath, PROGRAMS } from "./programs.ts";

/** Before all tests: root on Debian gets what is missing; elsewhere the tests that need it say that they are skipped. */
export default function installPrograms(): void {
  const missing = Object.entries(PROGRAMS).filter(([program]) => !isOnPath(program));
  if (missing.length === 0 || process.getuid?.() !== 0 || !isOnPath("apt-get")) return;
  const packages = missing.flatMap(([, debianPackages]) => debianPackages.split(" "));
  console.log(`installing for the tests: ${packages.join(" ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  try {
    execFileSync("apt-get", ["update", "-qq"], { env, stdio: "ignore" });
    execFileSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], {
      env,
      stdio: "ignore",
    });
  } catch (error) {
    console.warn(`some could not be installed: ${String(error)}`);
  }
}
