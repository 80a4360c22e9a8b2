import { randomBytes } from "node:crypto";
import { TunnelClient } from "../../client/client.ts";
import { parseAllowRules } from "../../client/local/consent.ts";
import { decodeAccessKey } from "../../link/access-key.ts";
import { createLog } from "../../runtime/log.ts";

/**
 * So many clients in one process, since each process of Node.js takes more than its client. Client N serves the subdomain `cN`.
 * Says `all serving` when all do.
 *
 * Arguments: the local service's port, how many. TUNNEL_KEY: the access key.
 */
const [port, countText] = process.argv.slice(2);
const COUNT = Number(countText);
/** At a time on their way in: a machine that starts a thousand does not start them in the same instant. */
const STARTING = 50;

const key = decodeAccessKey(process.env["TUNNEL_KEY"]!);
let started = 0;
let serving = 0;
for (let i = 0; i < Math.min(STARTING, COUNT); i++) start();

function start(): void {
  const number = started++;
  const client = new TunnelClient({
    server: { key },
    clientId: randomBytes(16).toString("hex"),
    tunnels: [{ kind: "HTTP", subdomain: `c${number}`, target: { host: "127.0.0.1", port: Number(port) } }],
    consent: parseAllowRules([], { loopback: false }),
    log: createLog({ destination: { write: (line) => read(line) } }),
  });
  client.run(new AbortController().signal).catch((error: unknown) => {
    console.log(`client ${number} ended: ${String(error)}`);
    process.exit(1);
  });
}

function read(line: string): void {
  const { level, message } = JSON.parse(line) as { level: string; message: string };
  if (level === "warn" || level === "error") console.log(line.trimEnd());
  if (message !== "serving") return;
  serving++;
  if (started < COUNT) start();
  if (serving === COUNT) console.log("all serving");
}
