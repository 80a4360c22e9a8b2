import { mkdir, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FILES, startBackend, type Backend } from "./backend/backend.ts";
import { howOneEnded, type Contender, type ContenderKind } from "./contender.ts";
import { curlCommand, download } from "./load/curl.ts";
import { runWrk } from "./load/wrk.ts";
import { Owned } from "./owned.ts";
import { NO_DISTANCE, type Road } from "./road/road.ts";
import { runTool, type ToolRun } from "./tool.ts";

const READY_WITHIN_MS = 30_000;
const LOOK_EVERY_MS = 50;
/** No visit takes so long unless it hangs. */
const STUCK_AFTER_MS = 180_000;

/** A local service, and contenders that bring it to visitors at the other end of a road. */
export class World implements AsyncDisposable {
  readonly directory: string;
  readonly road: Road;
  readonly backend: Backend;
  readonly #owned: Owned;
  readonly #signal: AbortSignal;
  readonly #warmSeconds: number;

  private constructor(options: WorldOptions, backend: Backend, owned: Owned) {
    this.directory = options.directory;
    this.road = options.road;
    this.#signal = options.signal;
    this.#warmSeconds = options.warmSeconds;
    this.backend = backend;
    this.#owned = owned;
  }

  /** Takes the road over, and ends it with the rest. */
  static async start(options: WorldOptions): Promise<World> {
    const { directory, road, signal } = options;
    const owned = new Owned();
    owned.own(road);
    try {
      const place = join(directory, "backend");
      await mkdir(place);
      signal.throwIfAborted();
      const backend = owned.own(await startBackend(place, { at: road.atClient, host: road.clientHost }));
      return new World(options, backend, owned);
    } catch (error) {
      await owned[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts one that takes part in all that follows; resolves once a visitor has been answered, and it is warm. */
  async add(kind: ContenderKind): Promise<Contender> {
    const contender = await this.startFresh(kind);
    try {
      await this.#warm(contender);
      return this.#owned.own(contender);
    } catch (error) {
      await contender[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts one that has done nothing yet but answer one visitor, for whoever disposes of it. */
  async startFresh(kind: ContenderKind): Promise<Contender> {
    const directory = await mkdtemp(join(this.directory, `${kind.name}-`));
    this.#signal.throwIfAborted();
    const { backend, road } = this;
    const contender = await kind.start({ backend, road, directory, signal: this.#signal });
    try {
      await this.#answers(contender);
      return contender;
    } catch (error) {
      await contender[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs a program where the visitors are; throws if it takes too long, or the run is to end. */
  async visit(command: readonly string[]): Promise<ToolRun> {
    return await runTool([...this.road.atServer, ...command], {
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(STUCK_AFTER_MS)]),
    });
  }

  async #answers(contender: Contender): Promise<void> {
    const command = [...curlCommand({ contender }, "/small"), "-f", "-m", "5"];
    const giveUpAt = performance.now() + READY_WITHIN_MS;
    for (;;) {
      const { code, stderr } = await this.visit(command);
      if (code === 0) return;
      const end = howOneEnded(contender);
      if (end !== undefined) throw new Error(end);
      if (performance.now() > giveUpAt)
        throw new Error(
          `${contender.kind.name} does not answer: ${stderr.trim()}; its client said: ${contender.client?.lastWords()}`,
        );
      await sleep(LOOK_EVERY_MS, undefined, { signal: this.#signal });
    }
  }

  /** Compiled code, grown windows and buffers. */
  async #warm(contender: Contender): Promise<void> {
    const visit = (command: readonly string[]): Promise<ToolRun> => this.visit(command);
    await runWrk({ contender, visit, seconds: this.#warmSeconds }, 16);
    // Not over a distance, where it would take long.
    if (this.road === NO_DISTANCE) await download({ contender, visit }, "/256m", FILES["256m"]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned[Symbol.asyncDispose]();
  }
}

export interface WorldOptions {
  /** An empty one of its own. */
  directory: string;
  road: Road;
  warmSeconds: number;
  signal: AbortSignal;
}
