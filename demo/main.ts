import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { runDemo } from "./run-demo.ts";

const USAGE = `Usage: npm run demo [-- PORT]

Starts a server, a client and a sample web app on this machine, and prints where to visit it.
With PORT, what listens on 127.0.0.1:PORT is exposed instead of the sample app.`;

const [argument, ...more] = process.argv.slice(2);
if (argument === "--help" || argument === "-h") {
  console.log(USAGE);
} else if (more.length > 0 || !isPort(argument ?? "1")) {
  console.error(
    `demo: expected at most one argument, a port from 1 to 65535, got "${[argument, ...more].join(" ")}"`,
  );
  console.error(`\n${USAGE}`);
  process.exitCode = 2;
} else {
  await main(argument === undefined ? undefined : Number(argument));
}

async function main(targetPort: number | undefined): Promise<void> {
  const dist = join(dirname(createRequire(import.meta.url).resolve("#package.json")), "dist");
  const stop = new AbortController();
  // Repeated signals change nothing: npm passes on a Ctrl-C that the terminal has sent already. Stopping has its own
  // time limit.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
  try {
    await runDemo({
      programs: { server: join(dist, "server/main.js"), client: join(dist, "client/main.js") },
      targetPort,
      preferred: { http: 8080, grpc: 7000 },
      print: (line) => console.log(line),
      colours: process.stdout.isTTY && !process.env["NO_COLOR"],
      signal: stop.signal,
    });
  } catch (error) {
    console.error(`demo: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}

function isPort(text: string): boolean {
  return /^[0-9]{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65535;
}
