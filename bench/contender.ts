import type { Backend } from "./backend/backend.ts";
import type { NeededProgram } from "./needed-programs.ts";
import type { Program } from "./program.ts";
import type { Address, Road } from "./road/road.ts";

/** Where visitors go. */
export interface Entrance extends Address {
  /** What they send as Host. */
  hostname: string;
}

/** One way of reaching the local service, running. */
export interface Contender extends AsyncDisposable {
  readonly kind: ContenderKind;
  readonly entrance: Entrance;
  /** Its programs at either end; what descends from them counts too. */
  readonly server?: Program | undefined;
  readonly client?: Program | undefined;
  /** Only a tunnel has a client that can be started anew. */
  stopClient?(): Promise<void>;
  startClient?(): void;
}

/** The first of its programs that runs no more. */
export function howOneEnded({ server, client }: Contender): string | undefined {
  return server?.howItEnded() ?? client?.howItEnded();
}

export interface StartOptions {
  backend: Backend;
  road: Road;
  /** An empty one of its own. */
  directory: string;
  signal: AbortSignal;
}

export interface ContenderKind {
  name: string;
  /** As tables call it. */
  title: string;
  /** What it cannot do without, beside what every run needs. */
  programs?: readonly NeededProgram[];
  /** Why it cannot take part here. */
  obstacle?(options: { print: (line: string) => void }): Promise<string | undefined>;
  start(options: StartOptions): Promise<Contender>;
  /** How long its server takes to notice that its client has gone, and to let the next one in; half a second, if left out. */
  clientGoneMs?: number;
}
