import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { report } from "./report.ts";
import { runSoak } from "./run-soak.ts";

const USAGE = `Usage: npm run soak -- [--minutes N] [--rate VISITS_PER_SECOND] [--out DIR]

Servers and clients under steady load with a fault each minute; fails if a visitor is answered wrong away from the
faults, or if memory, descriptors, sockets, streams or timers grow. By default half an hour, 200 visits a second,
and a new directory for the plots. docs/soak.md says more.`;

interface Options {
  minutes: number;
  rate: number;
  out?: string | undefined;
}

const options = readOptions();
if (options) await main(options);

async function main({ minutes, rate, out }: Options): Promise<void> {
  const directory = out ?? (await mkdtemp(join(tmpdir(), "culvert-soak-plots-")));
  const stop = new AbortController();
  // Repeated signals change nothing: npm passes on a Ctrl-C that the terminal has sent already.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
  try {
    const soak = await runSoak({ minutes, rate, print: (line) => console.log(line), signal: stop.signal });
    const { lines, passed } = await report(soak, stop.signal.aborted ? soak.minutes : minutes, directory);
    for (const line of lines) console.log(line);
    const verdict = stop.signal.aborted ? "INTERRUPTED" : passed ? "PASSED" : "FAILED";
    console.log(`\nsoak: ${verdict} (${Math.round(soak.minutes)} minutes, ${soak.faults} faults)`);
    process.exitCode = verdict === "PASSED" ? 0 : 1;
  } catch (error) {
    console.error(`soak: FAILED: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}

/** Undefined, and why is said, if there is nothing to run. */
function readOptions(): Options | undefined {
  try {
    const { values } = parseArgs({
      options: {
        help: { type: "boolean", short: "h" },
        minutes: { type: "string", default: "30" },
        rate: { type: "string", default: "200" },
        out: { type: "string" },
      },
    });
    if (values.help) {
      console.log(USAGE);
      return undefined;
    }
    return {
      minutes: positive("minutes", values.minutes),
      rate: positive("rate", values.rate),
      out: values.out,
    };
  } catch (error) {
    console.error(`soak: ${(error as Error).message}\n\n${USAGE}`);
    process.exitCode = 2;
    return undefined;
  }
}

function positive(name: string, text: string): number {
  const number = Number(text);
  if (!(number > 0 && number < Infinity))
    throw new Error(`--${name}: expected a number over 0, got "${text}"`);
  return number;
}
