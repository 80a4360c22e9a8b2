import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import { Agent } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Relay } from "../test/support/relay.ts";
import type { Crowd } from "./load.ts";
import { startLocalService } from "./local-service.ts";
import { Program } from "./program.ts";
import { Weather } from "./weather.ts";

const SERVER = fileURLToPath(new URL("../server/main.js", import.meta.url));

/**
 * What is under soak. A process that is restarted tells nothing of slow leaks, so those that are judged live through
 * the whole run, and others come and go for them:
 *
 * - `server` has two clients: `client`, behind a relay that is cut and falls silent, and a guest that is killed;
 * - `returner` is the client of a second server, which is stopped and started again.
 */
export interface World extends AsyncDisposable {
  relay: Relay;
  server: Program;
  client: Program;
  returner: Program;
  guest: Program;
  secondServer: Program;
  /** All that were ever started. */
  programs: Program[];
  /** Each puts a new one in the place of the last, and resolves when it is there. */
  startGuest(): Promise<void>;
  startSecondServer(): Promise<void>;
  /** The visitors of `client`, of the guest and of `returner`. */
  crowds: { client: Crowd; guest: Crowd; returner: Crowd };
}

/**
 * Of the three crowds. The second and third are there to be disturbed, and to be served while the others are.
 */
const SHARES = { client: 0.7, guest: 0.15, returner: 0.15 };

/** @param options.rate visits a second, of all crowds together */
export async function startWorld({ directory, rate }: { directory: string; rate: number }): Promise<World> {
  const toDispose: AsyncDisposable[] = [];
  const programs: Program[] = [];
  const disposed = <T extends AsyncDisposable>(part: T): T => {
    toDispose.unshift(part);
    if (part instanceof Program) programs.push(part);
    return part;
  };
  const dataDir = (name: string): string => join(directory, name);
  try {
    const service = disposed(await startLocalService());
    const target = `127.0.0.1:${service.port}`;

    const server = disposed(
      startServer("server", dataDir("server"), { host: "127.0.0.1", http: 0, grpc: 0 }),
    );
    const { http, grpc } = await portsOf(server);
    const relay = disposed(await Relay.to(grpc));
    const key = await createKey(dataDir("server"), `127.0.0.1:${grpc}`);
    const startClient = (name: string, address: string): Program =>
      new Program(
        name,
        "client/main.js",
        ["http", target, "--subdomain", name, "--server", address, "--data-dir", dataDir(name)],
        { TUNNEL_KEY: key },
      );
    const client = disposed(startClient("client", `127.0.0.1:${relay.port}`));
    await client.logged("serving");

    // An address of this machine's that nobody else uses: its ports are free when the server returns.
    const place = {
      host: `127.${randomInt(1, 255)}.${randomInt(0, 255)}.${randomInt(1, 255)}`,
      http: 0,
      grpc: 0,
    };
    const firstLife = startServer("second server", dataDir("second-server"), place);
    disposed(firstLife);
    Object.assign(place, await portsOf(firstLife));
    const returner = disposed(
      new Program("returner", "client/main.js", ["--data-dir", dataDir("returner")], {
        TUNNEL_KEY: await createKey(dataDir("second-server"), `${place.host}:${place.grpc}`, [
          "--tunnel",
          `returner=${target}`,
        ]),
      }),
    );
    await returner.logged("serving");

    const crowd = (name: keyof World["crowds"], address: string, port: number): Crowd => ({
      name,
      entrance: {
        address,
        port,
        host: `${name}.localhost`,
        agent: new Agent({ keepAlive: true, maxFreeSockets: 8 }),
      },
      weather: new Weather(),
      visitsPerSecond: rate * SHARES[name],
    });
    const firstGuest = disposed(startClient("guest", `127.0.0.1:${grpc}`));
    await firstGuest.logged("serving");
    const world: World = {
      relay,
      server,
      client,
      returner,
      guest: firstGuest,
      secondServer: firstLife,
      programs,
      async startGuest() {
        world.guest = disposed(startClient("guest", `127.0.0.1:${grpc}`));
        await world.guest.logged("serving");
      },
      async startSecondServer() {
        world.secondServer = disposed(startServer("second server", dataDir("second-server"), place));
        await world.secondServer.logged("listening");
      },
      crowds: {
        client: crowd("client", "127.0.0.1", http),
        guest: crowd("guest", "127.0.0.1", http),
        returner: crowd("returner", place.host, place.http),
      },
      [Symbol.asyncDispose]: disposeAll,
    };
    return world;
  } catch (error) {
    await disposeAll();
    throw error;
  }

  async function disposeAll(): Promise<void> {
    for (const part of toDispose.splice(0)) await part[Symbol.asyncDispose]();
  }
}

interface Place {
  host: string;
  http: number;
  grpc: number;
}

function startServer(name: string, dataDir: string, { host, http, grpc }: Place): Program {
  return new Program(name, "server/main.js", [
    `--data-dir=${dataDir}`,
    `--http-listen=${host}:${http}`,
    `--grpc-listen=${host}:${grpc}`,
  ]);
}

async function portsOf(server: Program): Promise<{ http: number; grpc: number }> {
  const { http, grpc } = await server.logged("listening");
  return { http: portOf(http), grpc: portOf(grpc) };
}

/** Of an address as the server logs it. */
function portOf(address: unknown): number {
  return Number(String(address).split(":").pop());
}

async function createKey(dataDir: string, publicAddress: string, args: string[] = []): Promise<string> {
  const command = ["key", "create", "--data-dir", dataDir, "--name", "soak", "--json"];
  const { stdout } = await promisify(execFile)(process.execPath, [
    SERVER,
    ...command,
    "--public-address",
    publicAddress,
    ...args,
  ]);
  return (JSON.parse(stdout) as { key: string }).key;
}
