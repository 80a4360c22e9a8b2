import { onTestFinished } from "vitest";
import { UnreadBudget } from "../../../../link/unread-budget.ts";
import { limitOptions } from "../../../../server/config/limits.ts";
import { TcpEdge } from "../../../../server/edge/tcp/tcp-edge.ts";
import { startTlsEdge } from "../../../../server/edge/tcp/tls-edge.ts";
import type { VisitorsOptions } from "../../../../server/edge/tcp/visitors.ts";
import type { Route } from "../../../../server/routing/route.ts";
import { freePort } from "../../../../bench/free-port.ts";
import { descriptorsForAll } from "../../../support/descriptors.ts";
import { FakeRoute } from "../../../support/fake-route.ts";
import { RawVisitor } from "../../../support/raw-visitor.ts";

/** An edge for TCP or TLS on a free port, with one tunnel, whatever visitors ask for. */
export interface EdgeOfBytes {
  readonly connections: number;
  readonly budget: UnreadBudget;
  readonly route: FakeRoute;
  /** What was logged, without the messages. */
  readonly lines: Record<string, unknown>[];
  visit(): Promise<RawVisitor>;
}

interface EdgeOfBytesOptions extends Partial<VisitorsOptions> {
  unreadBytes?: number;
  /** Instead of a route whose client is there. */
  findRoute?: () => Route | undefined;
}

/** Stops when the test is over. */
export async function startEdgeOfBytes(
  kind: "TCP" | "TLS",
  { unreadBytes, findRoute, ...more }: EdgeOfBytesOptions = {},
): Promise<EdgeOfBytes> {
  const route = new FakeRoute();
  const budget = new UnreadBudget(unreadBytes);
  const lines: Record<string, unknown>[] = [];
  const log = (fields: Record<string, unknown> | string): void => {
    if (typeof fields !== "string") lines.push(fields);
  };
  const options = {
    host: "127.0.0.1",
    trustedProxies: [],
    holdMs: 0,
    limits: limitOptions.parse({}),
    unread: budget,
    descriptors: descriptorsForAll(),
    log: { info: log, warn: log },
    findRoute: findRoute ?? (() => route),
    ...more,
  };
  let port: number;
  let edge: { readonly connections: number; stop(graceMs: number): Promise<void> };
  if (kind === "TCP") {
    port = await freePort();
    const tcp = new TcpEdge(options);
    await tcp.open(port);
    edge = tcp;
  } else {
    const tls = await startTlsEdge({ ...options, port: 0 });
    port = tls.port;
    edge = tls;
  }
  onTestFinished(() => edge.stop(0));
  return {
    get connections() {
      return edge.connections;
    },
    budget,
    route,
    lines,
    async visit() {
      const visitor = await RawVisitor.connect(port);
      onTestFinished(() => visitor.close());
      return visitor;
    },
  };
}
