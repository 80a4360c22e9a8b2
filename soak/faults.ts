import { setTimeout as sleep } from "node:timers/promises";
import type { Crowd } from "./load.ts";
import type { World } from "./world.ts";

export interface Fault {
  name: string;
  /** Whose visitors may notice. */
  crowd: (world: World) => Crowd;
  /** Resolves when it is over, and only recovery is left. */
  happen(world: World, signal: AbortSignal): Promise<void>;
}

const SILENT_MS = 20_000;
const FROZEN_MS = 5_000;
/** The second SIGTERM: visitors with endless streams hold the first up. */
const PATIENCE_MS = 3_000;
const AWAY_MS = 1_000;

/** One a minute, in turn. None takes a process with it that is judged. */
export const FAULTS: Fault[] = [
  {
    name: "connections cut",
    crowd: ({ crowds }) => crowds.client,
    async happen({ relay }) {
      relay.cut();
    },
  },
  {
    name: `nothing passes for ${SILENT_MS / 1000} s`,
    crowd: ({ crowds }) => crowds.client,
    async happen({ relay }, signal) {
      relay.mode = "hold";
      await sleep(SILENT_MS, undefined, { signal });
      relay.mode = "pass";
    },
  },
  {
    name: "a client killed and restarted",
    crowd: ({ crowds }) => crowds.guest,
    async happen(world) {
      world.guest.kill("SIGKILL");
      await world.guest.ended;
      await world.startGuest();
    },
  },
  {
    name: "a server stopped and restarted",
    crowd: ({ crowds }) => crowds.returner,
    async happen(world, signal) {
      const { secondServer } = world;
      secondServer.kill("SIGTERM");
      await Promise.race([secondServer.ended, sleep(PATIENCE_MS, undefined, { signal })]);
      secondServer.kill("SIGTERM");
      const how = await secondServer.ended;
      if (how !== "exit code 0") throw new Error(`the second server ended with ${how}`);
      await sleep(AWAY_MS, undefined, { signal });
      await world.startSecondServer();
    },
  },
  {
    name: `a client frozen for ${FROZEN_MS / 1000} s`,
    crowd: ({ crowds }) => crowds.client,
    async happen({ client }, signal) {
      client.kill("SIGSTOP");
      await sleep(FROZEN_MS, undefined, { signal });
      client.kill("SIGCONT");
    },
  },
];
