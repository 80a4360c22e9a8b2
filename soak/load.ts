import { setTimeout as sleep } from "node:timers/promises";
import type { Ledger } from "./ledger.ts";
import { KINDS, listen, talk, type Entrance, type Kind } from "./visits.ts";
import type { Weather } from "./weather.ts";

/** A tunnel that visitors come to, and the weather over it. */
export interface Crowd {
  name: string;
  entrance: Entrance;
  weather: Weather;
  visitsPerSecond: number;
}

/** Visitors wait during a black hole, and new ones keep coming: 20 s of them and more. */
const MOST_AT_ONCE = 8_000;
const REOPEN_MS = 500;
/** Visitors that this process was too slow to send are made up for if they are few: a burst is another test. */
const CATCH_UP_MS = 100;

/** Visitors at a steady rate, one after another through all kinds of visit, and two that stay; until the signal. */
export async function load(crowd: Crowd, ledger: Ledger, signal: AbortSignal): Promise<void> {
  const { name, entrance, weather } = crowd;
  const staying = [
    stay("endless events", () => listen(entrance, 0, signal)),
    stay("WebSocket", () => talk(entrance, signal)),
  ];
  const open = new Set<Promise<void>>();
  const kinds = inTurn();
  let dueAt = performance.now();
  for (let number = 0; !signal.aborted; number++) {
    dueAt = Math.max(dueAt + 1_000 / crowd.visitsPerSecond, performance.now() - CATCH_UP_MS);
    const waitMs = dueAt - performance.now();
    if (waitMs > 1) await sleep(waitMs, undefined, { signal }).catch(() => {});
    if (open.size >= MOST_AT_ONCE) {
      ledger.fail(`${name}: ${MOST_AT_ONCE} visitors wait for an answer`);
      continue;
    }
    const kind = kinds[number % kinds.length]!;
    const visit = ledger.enter(
      `${name}, ${kind.name}`,
      weather,
      () => kind.visit(entrance, number),
      kind.timed,
    );
    open.add(visit);
    void visit.then(() => open.delete(visit));
  }
  await Promise.all([...open, ...staying]);
  entrance.agent.destroy();

  async function stay(what: string, visit: () => Promise<void>): Promise<void> {
    while (!signal.aborted) {
      await ledger.enter(`${name}, ${what}`, weather, () =>
        visit().catch((error: unknown) => {
          if (!signal.aborted) throw error;
        }),
      );
      await sleep(REOPEN_MS, undefined, { signal }).catch(() => {});
    }
  }
}

/** A hundred visits, each kind spread over them by its share. */
function inTurn(): Kind[] {
  const owed = KINDS.map(() => 0);
  const whole = KINDS.reduce((sum, { share }) => sum + share, 0);
  return Array.from({ length: whole }, () => {
    for (const [i, { share }] of KINDS.entries()) owed[i]! += share;
    const next = owed.indexOf(Math.max(...owed));
    owed[next]! -= whole;
    return KINDS[next]!;
  });
}
