import type { RoadName } from "../workload.ts";
import { delayedRoad } from "./delayed-road.ts";
import { hasNetem, linedRoad, lossObstacle, netemRoad, whyNoNamespaces } from "./namespace-road.ts";
import { NO_DISTANCE, type Road } from "./road.ts";

const DELAY_MS = 50;

/** Why there is no such road on this machine. */
export async function roadObstacle(name: RoadName): Promise<string | undefined> {
  return name === "lossy" ? await lossObstacle() : undefined;
}

/** @param directory for logs */
export async function startRoad(name: RoadName, directory: string): Promise<Road> {
  if (name === "here") return NO_DISTANCE;
  const distance = { delayMs: DELAY_MS, lossPercent: name === "lossy" ? 1 : 0 };
  if (await hasNetem()) return await netemRoad(distance);
  // Clients take a loopback server for near, and open one connection instead of four.
  return whyNoNamespaces() === undefined
    ? await linedRoad(distance, directory)
    : delayedRoad(directory, DELAY_MS);
}
