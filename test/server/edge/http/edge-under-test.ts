import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished, vi } from "vitest";
import {
  startHttpEdge,
  type EdgeLimits,
  type HttpEdge,
  type HttpEdgeOptions,
} from "../../../../server/edge/http/http-edge.ts";
import { limitOptions } from "../../../../server/config/limits.ts";
import { ConnectionNumbers } from "../../../../server/edge/http/visitor-connection.ts";
import type { Route } from "../../../../server/routing/route.ts";
import { descriptorsForAll } from "../../../support/descriptors.ts";
import { FakeRoute } from "../../../support/fake-route.ts";
import { RawVisitor } from "../../../support/raw-visitor.ts";

export interface AccessLine {
  [field: string]: unknown;
}

type EdgeTestOptions = Partial<Omit<HttpEdgeOptions, "limits"> & { limits: Partial<EdgeLimits> }>;

/** An edge on a free port, with a tunnel at `app.test` and one at `away.test` whose client is not there. */
export class EdgeUnderTest implements AsyncDisposable {
  readonly edge: HttpEdge;
  readonly route: FakeRoute;
  readonly lines: AccessLine[];
  readonly #visitors: RawVisitor[] = [];
  readonly #onLine: Set<() => void>;

  private constructor(edge: HttpEdge, route: FakeRoute, lines: AccessLine[], onLine: Set<() => void>) {
    this.edge = edge;
    this.route = route;
    this.lines = lines;
    this.#onLine = onLine;
  }

  static async start({ limits, ...options }: EdgeTestOptions = {}): Promise<EdgeUnderTest> {
    const route = new FakeRoute();
    const lines: AccessLine[] = [];
    const onLine = new Set<() => void>();
    const info = (fields: AccessLine | string) => {
      if (typeof fields === "string") return;
      lines.push(fields);
      for (const check of onLine) check();
    };
    const findRoute = (hostname: string): Route | undefined => {
      if (hostname === "app.test") return route;
      return hostname === "away.test" ? { tunnel: "away", key: "home", open: undefined } : undefined;
    };
    const edge = await startHttpEdge({
      host: "127.0.0.1",
      port: 0,
      domain: "app.test",
      findRoute,
      trustedProxies: [],
      numbers: new ConnectionNumbers(),
      holdMs: 0,
      timeoutMs: 120_000,
      limits: { ...limitOptions.parse({}), ...limits },
      descriptors: descriptorsForAll(),
      log: { info, warn: info },
      ...options,
    });
    return new EdgeUnderTest(edge, route, lines, onLine);
  }

  async visitor(): Promise<RawVisitor> {
    const visitor = await RawVisitor.connect(this.edge.address.port);
    this.#visitors.push(visitor);
    return visitor;
  }

  /** A visitor that has sent this. */
  async send(...parts: (string | Buffer)[]): Promise<RawVisitor> {
    return (await this.visitor()).send(...parts);
  }

  /** The first access line, past or future, that fits. */
  line(fits: (line: AccessLine) => boolean): Promise<AccessLine> {
    return new Promise((resolve) => {
      const check = () => {
        const line = this.lines.find(fits);
        if (!line) return;
        this.#onLine.delete(check);
        resolve(line);
      };
      this.#onLine.add(check);
      check();
    });
  }

  /** Resolves when no visitor's connection is left. */
  async emptied(): Promise<void> {
    while (this.edge.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const visitor of this.#visitors) visitor.close();
    await this.edge.stop(0);
  }
}

/** A GET of `/` at app.test, with further field lines, each ended by CRLF. */
export function get(target = "/", fields = ""): string {
  return `GET ${target} HTTP/1.1\r\nHost: app.test\r\n${fields}\r\n`;
}

/** A POST with a length. */
export function post(body: string, fields = ""): string {
  return `POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: ${body.length}\r\n${fields}\r\n${body}`;
}

/** Waits until a number has been the same for a while: what is to be seen is that something does not happen. */
export async function stable(value: () => number): Promise<void> {
  for (let last = -1, same = 0; same < 5;) {
    const now = value();
    same = now === last ? same + 1 : 0;
    last = now;
    await sleep(20);
  }
}

/** Puts the edge's time limits, of which node's own are none, in the test's hands until its end. */
export function holdClock(): { advance: (ms: number) => void } {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  return { advance: (ms) => void vi.advanceTimersByTime(ms) };
}
