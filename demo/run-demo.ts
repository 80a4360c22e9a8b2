import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ChildProgram } from "./child-program.ts";
import { isListening, listenAddress } from "./loopback-ports.ts";
import { startSampleApp, type SampleApp } from "./sample-app.ts";

export interface DemoOptions {
  /** The built programs' files. */
  programs: { server: string; client: string };
  /** What to expose on 127.0.0.1 instead of the sample app. */
  targetPort?: number;
  /** Where to listen if nothing else does. */
  preferred: { http: number; grpc: number };
  print: (line: string) => void;
  colours: boolean;
  /** How long each program may finish its work; see `ChildProgramOptions`. */
  patienceMs?: number;
  /** Ends the demo. */
  signal: AbortSignal;
}

const SUBDOMAIN = "demo";
const READY_WITHIN_MS = 30_000;

/**
 * Runs a server, a client and the sample app, and says how to visit it, until the signal; then all are gone.
 * @throws if one of the programs fails to start or ends by itself
 */
export async function runDemo(options: DemoOptions): Promise<void> {
  const { programs, print, colours, patienceMs, signal } = options;
  let server: ChildProgram | undefined;
  let client: ChildProgram | undefined;
  let app: SampleApp | undefined;
  const directory = await mkdtemp(join(tmpdir(), "culvert-demo-"));
  try {
    server = new ChildProgram({
      name: "server",
      file: programs.server,
      args: [
        `--data-dir=${join(directory, "server")}`,
        `--http-listen=${await addressBeside(options.targetPort, options.preferred.http)}`,
        `--grpc-listen=${await addressBeside(options.targetPort, options.preferred.grpc)}`,
      ],
      print,
      colours,
      patienceMs,
    });
    const { http, grpc } = await server.logged("listening", READY_WITHIN_MS, signal);
    const key = await createKey(programs.server, join(directory, "server"), String(grpc));

    if (options.targetPort === undefined) app = await startSampleApp({ port: 0 });
    else await warnIfSilent(options.targetPort, print);
    const targetPort = app?.port ?? options.targetPort!;
    client = new ChildProgram({
      name: "client",
      file: programs.client,
      args: [
        "http",
        String(targetPort),
        `--subdomain=${SUBDOMAIN}`,
        `--data-dir=${join(directory, "client")}`,
        `--config=${await configForOtherNames(directory, targetPort)}`,
      ],
      env: clientEnvironment(key),
      print,
      colours,
      patienceMs,
    });
    await client.logged("online", READY_WITHIN_MS, signal);
    announce({ httpPort: portOf(http), targetPort, key, sample: app !== undefined, print });
    await Promise.race([aborted(signal), server.endsUnasked(), client.endsUnasked()]);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    // The app first: its endless streams would hold up the client, and the client's the server.
    await app?.close();
    await client?.stop();
    await server?.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

/** The same for every other name, so that http://localhost:8080/ is no riddle; tunnels of their own name go first. */
async function configForOtherNames(directory: string, targetPort: number): Promise<string> {
  const file = join(directory, "client.yaml");
  await writeFile(file, `tunnels: [{ name: others, type: http, hostname: "*", target: ${targetPort} }]\n`);
  return file;
}

/** Loopback only: a demo opens nothing to the network. Nor does it take the port that it is asked to expose. */
async function addressBeside(targetPort: number | undefined, preferredPort: number): Promise<string> {
  return listenAddress(preferredPort === targetPort ? 0 : preferredPort);
}

async function createKey(serverFile: string, dataDir: string, publicAddress: string): Promise<string> {
  const args = [
    "key",
    "create",
    "--data-dir",
    dataDir,
    "--name",
    "demo",
    "--public-address",
    publicAddress,
    "--hostname",
    "*",
    "--json",
  ];
  const { stdout } = await promisify(execFile)(process.execPath, [serverFile, ...args]);
  return (JSON.parse(stdout) as { key: string }).key;
}

async function warnIfSilent(port: number, print: (line: string) => void): Promise<void> {
  if (await isListening("127.0.0.1", port)) return;
  print(`demo   │ nothing listens on 127.0.0.1:${port} yet: visitors get 502 until you start your app there`);
}

/** The key goes by the environment, which other users of the machine cannot list. */
function clientEnvironment(key: string): NodeJS.ProcessEnv {
  const { TUNNEL_SERVER: _elsewhere, ...inherited } = process.env;
  return { ...inherited, TUNNEL_KEY: key };
}

/** Of an address in the server's log, such as 127.0.0.1:8080. */
function portOf(address: unknown): number {
  return Number(String(address).split(":").pop());
}

interface Announcement {
  httpPort: number;
  targetPort: number;
  key: string;
  sample: boolean;
  print: (line: string) => void;
}

function announce({ httpPort, targetPort, key, sample, print }: Announcement): void {
  const host = `${SUBDOMAIN}.localhost`;
  const line = "─".repeat(72);
  print(`
${line}
  ${sample ? "The sample app" : `What listens on port ${targetPort}`}, through the tunnel:

      http://${host}:${httpPort}/

  or http://localhost:${httpPort}/, where a browser does not know ${host}.
  The same with curl:

      curl -H 'Host: ${host}' http://127.0.0.1:${httpPort}/

  The client runs as:

      tunnel-client http ${targetPort} --subdomain ${SUBDOMAIN} --key ${key}

  With another port and --subdomain, that line opens a second tunnel beside
  this one (in this directory, tunnel-client is: node dist/client/main.js).
  Ctrl-C stops everything.
${line}
`);
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}
