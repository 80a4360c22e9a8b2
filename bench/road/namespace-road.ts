import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Namespaces, namespaceObstacle } from "../../test/support/namespaces.ts";
import { findProgram, installPackages } from "../needed-programs.ts";
import { Owned } from "../owned.ts";
import { portOf, startDelayLine } from "./delayed-road.ts";
import type { Address, Road } from "./road.ts";

const run = promisify(execFile);

const ENDS = { server: "10.99.1.1", client: "10.99.2.2" };
/** What stands between the ends where the kernel cannot delay packets itself. */
const MIDDLE = { toServer: "10.99.1.2", toClient: "10.99.2.1" };

export interface Distance {
  /** Each way. */
  delayMs: number;
  /** Of packets, each way, all in all. */
  lossPercent: number;
}

/** Why this machine has no namespaces, or cannot lose packets in them. */
export async function lossObstacle(): Promise<string | undefined> {
  const obstacle = whyNoNamespaces();
  if (obstacle !== undefined) return obstacle;
  if (await hasNetem()) return undefined;
  if (!findProgram("nft") && findProgram("apt-get")) await installPackages(["nftables"]);
  if (!findProgram("nft")) return "neither netem nor nft here: install Debian's package nftables";
  return await inProbe(async (name) => {
    try {
      await dropSome(name, 1);
      return undefined;
    } catch (error) {
      return `the kernel has no netem, and nft cannot drop at random: ${(error as Error).message.trim()}`;
    }
  });
}

export async function hasNetem(): Promise<boolean> {
  if (whyNoNamespaces() !== undefined) return false;
  return await inProbe(async (name) => {
    try {
      await run("tc", ["-n", name, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]);
      return true;
    } catch {
      return false;
    }
  });
}

/** Two machines with one wire, whose kernels delay and lose packets: TCP sees a distance as it is. */
export async function netemRoad({ delayMs, lossPercent }: Distance): Promise<Road> {
  const owned = new Owned();
  try {
    const namespaces = owned.own(new Namespaces());
    const [server, client] = [await namespaces.add("a"), await namespaces.add("b")];
    const [host, clientHost] = ["10.99.1.1", "10.99.1.2"];
    await namespaces.join([server, host], [client, clientHost]);
    // Room for what is under way at some gigabits a second.
    const netem = ["netem", "delay", `${delayMs}ms`, "loss", `${lossPercent}%`, "limit", "200000"];
    await run("tc", ["-n", server, "qdisc", "add", "dev", "l0", "root", ...netem]);
    await run("tc", ["-n", client, "qdisc", "add", "dev", "r0", "root", ...netem]);
    return {
      atServer: inside(server),
      atClient: inside(client),
      serverHost: host,
      clientHost,
      toServer: async (port) => ({ host, port }),
      toClient: async (port) => ({ host: clientHost, port }),
      [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
    };
  } catch (error) {
    await owned[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Three machines in a row, the delay lines on the middle one. To lose packets it drops them on both wires, so that either TCP connection
 * loses half of all that is to be lost. They are short: each makes its losses good within milliseconds, or after a timeout of 200.
 */
export async function linedRoad({ delayMs, lossPercent }: Distance, directory: string): Promise<Road> {
  const owned = new Owned();
  try {
    const namespaces = owned.own(new Namespaces());
    const [server, middle, client] = [
      await namespaces.add("a"),
      await namespaces.add("m"),
      await namespaces.add("b"),
    ];
    await namespaces.join([server, ENDS.server], [middle, MIDDLE.toServer]);
    await namespaces.join([middle, MIDDLE.toClient], [client, ENDS.client]);
    if (lossPercent > 0) {
      // Packets as they are on a wire: a whole 64 KiB lost at a time would be another thing.
      for (const [name, device] of [
        [server, "l0"],
        [middle, "r0"],
        [middle, "l1"],
        [client, "r1"],
      ] as const)
        await run("ip", ["-n", name, "link", "set", "dev", device, "gso_max_segs", "1"]);
      await dropSome(middle, lossPercent / 2);
    }
    const line = async (listenHost: string, targetHost: string, port: number): Promise<Address> => {
      const program = owned.own(
        startDelayLine(inside(middle), [listenHost, delayMs, targetHost, port], directory),
      );
      return { host: listenHost, port: await portOf(program) };
    };
    return {
      atServer: inside(server),
      atClient: inside(client),
      serverHost: ENDS.server,
      clientHost: ENDS.client,
      toServer: (port) => line(MIDDLE.toClient, ENDS.server, port),
      toClient: (port) => line(MIDDLE.toServer, ENDS.client, port),
      [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
    };
  } catch (error) {
    await owned[Symbol.asyncDispose]();
    throw error;
  }
}

/** Where `CI` is set the tests' question throws, since no test may be skipped there; a workload may. */
export function whyNoNamespaces(): string | undefined {
  try {
    return namespaceObstacle();
  } catch (error) {
    return (error as Error).message;
  }
}

/** Of what comes in and of what goes out. */
async function dropSome(namespace: string, percent: number): Promise<void> {
  const drop = `meta l4proto tcp iifname != "lo" numgen random mod 1000 < ${Math.round(percent * 10)} drop`;
  const rules = `table inet loss {
    chain in { type filter hook input priority 0; ${drop}; }
    chain out { type filter hook output priority 0; ${drop.replace("iifname", "oifname")}; }
  }`;
  const child = run("ip", ["netns", "exec", namespace, findProgram("nft")!, "-f", "-"]);
  child.child.stdin!.end(rules);
  await child;
}

async function inProbe<T>(look: (name: string) => Promise<T>): Promise<T> {
  await using namespaces = new Namespaces();
  return await look(await namespaces.add("probe"));
}

function inside(namespace: string): string[] {
  return ["ip", "netns", "exec", namespace];
}
