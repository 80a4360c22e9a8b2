import type { Workload } from "../workload.ts";
import { down, downAtOnce, up } from "./bulk.ts";
import { clients } from "./clients.ts";
import { distantDown, distantGet } from "./distance.ts";
import { get } from "./get.ts";
import { polls } from "./polls.ts";
import { ready } from "./ready.ts";
import { stalled } from "./stalled.ts";
import { volume } from "./volume.ts";
import { websocket } from "./websocket.ts";

/** In the order in which they run. */
export const WORKLOADS: readonly Workload[] = [
  get(1),
  get(16),
  get(64),
  get(256),
  down("256m", "256 MiB down"),
  down("1g", "1 GiB down"),
  up,
  downAtOnce(8, "256m", "8 at once down, 256 MiB each"),
  websocket,
  stalled,
  ready,
  polls(1_000, ["culvert", "culvert-plain", "ssh"]),
  polls(10_000, ["culvert", "culvert-plain"]),
  clients,
  volume,
  distantDown("far", 1),
  distantDown("far", 8),
  distantGet("far", 16),
  distantDown("lossy", 1),
  distantDown("lossy", 8),
  distantGet("lossy", 16),
];

export const QUICK_WORKLOADS = ["get-1", "get-64", "down-256m"];
