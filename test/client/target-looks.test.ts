import { once } from "node:events";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import type { Resolve } from "../../runtime/name-lookup.ts";
import { type Consent, consentTo, parseAllowRules } from "../../client/local/consent.ts";
import { LocalService } from "../../client/local/local-service.ts";
import type { LocalTunnel } from "../../client/local/serve-stream.ts";
import { type Looks, TargetLooks } from "../../client/target-looks.ts";
import type { Target } from "../../link/target.ts";
import { turn } from "../support/turns.ts";

/** Nobody listens there. */
const NOWHERE: Target = { host: "127.0.0.1", port: 1 };

interface TunnelOptions {
  kind?: LocalTunnel["kind"];
  consent?: Consent;
  resolve?: Resolve;
  /** Told of each socket that it is dialled with. */
  dialled?: (socket: Socket) => void;
}

function tunnelTo(target: Target, options: TunnelOptions = {}): LocalTunnel {
  const { kind = "HTTP", consent = consentTo(target), resolve, dialled } = options;
  const service = new LocalService({ target, consent, resolve });
  const knock = service.knock.bind(service);
  service.knock = (timeoutMs) => {
    const socket = knock(timeoutMs);
    dialled?.(socket);
    return socket;
  };
  return { name: "app", kind, ports: 1, service };
}

/** Looks at these tunnels, by their place in the list. */
function lookAt(tunnels: LocalTunnel[]) {
  const told: Looks[] = [];
  let looks: TargetLooks;
  const first = new Promise<Looks>((resolve) => {
    looks = new TargetLooks((each) => {
      told.push(each);
      resolve(each);
    });
    looks.ask(new Map(tunnels.entries()));
  });
  return { first, told, [Symbol.dispose]: () => looks[Symbol.dispose]() };
}

test("of many services three are dialled at a time, and one whose name is looked up", async () => {
  const most = { dialled: 0, lookups: 0 };
  let sockets = 0;
  let lookups = 0;
  const dialled = (socket: Socket): void => {
    most.dialled = Math.max(most.dialled, ++sockets);
    socket.once("close", () => sockets--);
  };
  const resolve: Resolve = (_host, _options, callback) => {
    most.lookups = Math.max(most.lookups, ++lookups);
    setImmediate(() => {
      lookups--;
      callback(Object.assign(new Error("unknown"), { code: "ENOTFOUND", syscall: "getaddrinfo" }), []);
    });
  };
  const tunnels = Array.from({ length: 40 }, (_, i) =>
    tunnelTo(i % 2 === 0 ? NOWHERE : { host: `${i}.test`, port: 80 }, { resolve, dialled }),
  );
  using looking = lookAt(tunnels);
  const looks = await looking.first;
  expect(Array.from(looks.values(), ({ look }) => look.answer)).toEqual(Array(40).fill("NO_ANSWER"));
  expect(most).toEqual({ dialled: 4, lookups: 1 });
});

test("what is not allowed is not dialled, nor what is of UDP", async () => {
  let sockets = 0;
  const dialled = (): void => void sockets++;
  const consent = parseAllowRules([], { loopback: false });
  using looking = lookAt([
    tunnelTo(NOWHERE, { consent, dialled }),
    tunnelTo(NOWHERE, { kind: "UDP", dialled }),
    tunnelTo({ path: "/run/docker.sock" }, { consent, dialled }),
  ]);
  const looks = Array.from((await looking.first).values(), ({ look }) => look);
  expect(looks).toEqual([
    { allowed: false, answer: "NOT_LOOKED_AT" },
    { allowed: true, answer: "NOT_LOOKED_AT" },
    { allowed: false, answer: "NOT_LOOKED_AT" },
  ]);
  expect(sockets).toBe(0);
});

test("between two looks there is a pause, and of many changes meanwhile the last one counts", async () => {
  const pauseMs = 300;
  const at: number[] = [];
  const names: string[] = [];
  await new Promise<void>((resolve) => {
    const looks = new TargetLooks((each) => {
      at.push(performance.now());
      for (const { tunnel } of each.values()) names.push(tunnel.name);
      if (names.length === 1) ["neither", "nor", "last"].forEach(ask);
      else resolve();
    }, pauseMs);
    const ask = (name: string) => looks.ask(new Map([[1, { ...tunnelTo(NOWHERE), name }]]));
    ask("never looked at");
    ask("first");
  });
  expect(names).toEqual(["first", "last"]);
  expect(at[1]! - at[0]!).toBeGreaterThanOrEqual(pauseMs - 1);
});

test("a look ends with its session: its socket closes, and nothing is told", async () => {
  let looking: ReturnType<typeof lookAt>;
  const socket = await new Promise<Socket>((dialled) => {
    looking = lookAt([tunnelTo({ host: "slow.test", port: 80 }, { dialled, resolve: () => {} })]);
  });
  const closed = once(socket, "close");
  looking![Symbol.dispose]();
  await closed;
  await turn();
  expect(looking!.told).toEqual([]);
});
