import { describe, expect, test } from "vitest";
import { TunnelError } from "../../../link/errors.ts";
import type { TunnelRequest } from "../../../link/messages.ts";
import type { Key, KeyTunnel } from "../../../server/access/key.ts";
import { publicNamesOf } from "../../../server/routing/place.ts";
import { nameTunnels, type NamingRules } from "../../../server/sessions/naming.ts";
import { namingRules, ownedBy } from "../../support/naming-rules.ts";

const KEYS: Key[] = [
  keyOf("home", ["app.example.org", "*.shop.example.org", "*"]),
  keyOf("other", ["taken.test", "*.taken.test", "*.reserved.localhost", "one.free.test"]),
];
const RULES: NamingRules = namingRules({
  domain: "localhost",
  ...ownedBy(KEYS),
});

function keyOf(name: string, hostnames: string[], tunnels: KeyTunnel[] = []): Key {
  return { id: name, name, hostnames, tunnels, source: "config" };
}

function request(more: Partial<TunnelRequest>): TunnelRequest {
  return {
    name: "",
    kind: "HTTP",
    hostname: "",
    subdomain: "",
    target: "127.0.0.1:3000",
    hostHeader: "",
    timeoutMs: 0,
    ...more,
  };
}

/** The public name that a client with the first key gets, or why it gets none. */
function nameFor(more: Partial<TunnelRequest>, key = KEYS[0]!): string {
  try {
    return nameTunnels(key, "client", [request(more)], RULES).flatMap(publicNamesOf)[0]!;
  } catch (error) {
    if (error instanceof TunnelError && error.code === "name_refused") return error.message;
    throw error;
  }
}

describe("a client gets", () => {
  test.each([
    ["a hostname of its key", { hostname: "app.example.org" }, "app.example.org"],
    ["it in any spelling", { hostname: "APP.Example.Org." }, "app.example.org"],
    ["a wildcard of its key", { hostname: "*.shop.example.org" }, "*.shop.example.org"],
    ["a name beneath a wildcard of its key", { hostname: "a.b.shop.example.org" }, "a.b.shop.example.org"],
    ["a wildcard beneath it", { hostname: "*.b.shop.example.org" }, "*.b.shop.example.org"],
    ["whatever no other name takes", { hostname: "*" }, "*"],
    ["a free subdomain", { subdomain: "blog" }, "blog.localhost"],
    ["a free subdomain by its whole name", { hostname: "blog.localhost" }, "blog.localhost"],
  ])("%s", (_, wanted, name) => {
    expect(nameFor(wanted)).toBe(name);
  });

  test("a generated subdomain that stays the same for its port, whatever the target's form", () => {
    const name = nameFor({});
    expect(name).toMatch(/^[a-z2-9]{8}\.localhost$/);
    expect(nameFor({ target: "https://192.168.1.1:3000" })).toBe(name);
    expect(nameFor({ target: "127.0.0.1:3001" })).not.toBe(name);
    expect(nameFor({ target: "unix:/run/a/3000" })).not.toBe(name);
    expect(nameFor({ target: "unix:/run/a/3000" })).not.toBe(nameFor({ target: "unix:/run/b/3000" }));
  });
});

describe("a client does not get", () => {
  test.each([
    ["a hostname that nobody gave its key", { hostname: "shop.example.org" }, "may not use the hostname"],
    ["the wildcard over its hostname", { hostname: "*.app.example.org" }, "may not use the hostname"],
    ["the wildcard over its wildcard", { hostname: "*.example.org" }, "may not use the hostname"],
    ["the wildcard over all subdomains", { hostname: "*.localhost" }, "may not use the hostname"],
    ["a wildcard beneath a subdomain", { hostname: "*.blog.localhost" }, "may not use the hostname"],
    ["another key's hostname", { hostname: "taken.test" }, "may not use the hostname"],
    ["a name beneath another key's wildcard", { hostname: "x.taken.test" }, "may not use the hostname"],
    ["what is no name", { hostname: "a.*.test" }, "cannot be used"],
    ["a wildcard as a subdomain", { subdomain: "*" }, "cannot be used"],
    ["a wildcard over an address", { hostname: "*.127.0.0.1" }, "cannot be used"],
  ])("%s", (_, wanted, problem) => {
    expect(nameFor(wanted)).toContain(problem);
  });

  test("a subdomain beneath a wildcard that the config gives to another key", () => {
    const rules = { ...RULES, domain: "reserved.localhost" };
    expect(() => nameTunnels(KEYS[0]!, "client", [request({ subdomain: "blog" })], rules)).toThrow(
      "belongs to another key",
    );
    const tunnels = nameTunnels(KEYS[1]!, "client", [request({ subdomain: "blog" })], rules);
    expect(tunnels.flatMap(publicNamesOf)).toEqual(["blog.reserved.localhost"]);
  });

  test("a name within its own wildcard that the config gives to another key", () => {
    const wide = keyOf("wide", ["*.free.test"]);
    expect(nameFor({ hostname: "two.free.test" }, wide)).toBe("two.free.test");
    expect(nameFor({ hostname: "one.free.test" }, wide)).toContain("belongs to another key");
  });
});

function at(kind: "TCP" | "UDP", port: number): KeyTunnel {
  return { name: `${kind}${port}`, kind, port, ports: 1, target: "127.0.0.1:1" };
}

describe("a client that asks for a port", () => {
  const home = keyOf("home", [], [at("TCP", 2222), at("TCP", 443)]);
  const other = keyOf("other", [], [at("UDP", 20_005), at("TCP", 443)]);
  const rules = namingRules(ownedBy([other, home]));
  const ask = (kind: "TCP" | "UDP", port: number, ports = 1) => {
    try {
      return nameTunnels(home, "client", [request({ kind, port, ports })], rules).flatMap(publicNamesOf);
    } catch (error) {
      return (error as Error).message;
    }
  };

  test.each([
    ["of its key", "TCP", 2222, ["tcp:2222"]],
    ["of its key and another", "TCP", 443, ["tcp:443"]],
    ["that is free", "TCP", 20_005, ["tcp:20005"]],
    ["that is whichever", "UDP", 0, []],
  ] as const)("gets one %s", (_what, kind, port, names) => {
    expect(ask(kind, port)).toEqual(names);
  });

  test.each([
    [
      "of another key, be it free for the rest",
      "UDP",
      20_005,
      1,
      "The UDP port 20005 belongs to another key",
    ],
    ["of its key for the other kind", "UDP", 2222, 1, "This key may not use the UDP port 2222"],
    ["of nobody", "TCP", 3000, 1, "This key may not use the TCP port 3000"],
    ["of nobody behind its own", "TCP", 2222, 2, "This key may not use the TCP port 2223"],
  ] as const)("gets none %s", (_what, kind, port, ports, message) => {
    expect(ask(kind, port, ports)).toContain(message);
  });
});

function tunnelFor(more: Partial<TunnelRequest>) {
  return nameTunnels(KEYS[0]!, "client", [request({ subdomain: "a", ...more })], RULES)[0]!;
}

describe("what the local service gets as Host", () => {
  test.each([
    ["127.0.0.1:3000", "127.0.0.1:3000"],
    ["127.0.0.1:80", "127.0.0.1"],
    ["localhost:443", "localhost:443"],
    ["https://nas.lan:443", "nas.lan"],
    ["https://nas.lan:8443", "nas.lan:8443"],
    ["[::1]:80", "[::1]"],
    ["[::1]:8080", "[::1]:8080"],
    ["unix:/run/app.sock", "localhost"],
  ])("of the target %s is %s", (target, host) => {
    expect(tunnelFor({ hostHeader: "target", target }).hostHeader).toBe(host);
  });

  test("is a name, or as the visitor sent it, and never something else", () => {
    expect(tunnelFor({ hostHeader: "app.test:8080" }).hostHeader).toBe("app.test:8080");
    expect(tunnelFor({}).hostHeader).toBeUndefined();
    expect(nameFor({ hostHeader: "a\r\nX: 1" })).toContain("host header");
    expect(nameFor({ hostHeader: "a, b" })).toContain("host header");
  });
});

test("a client's own time limit counts, up to a day", () => {
  expect(tunnelFor({ timeoutMs: 0 }).timeoutMs).toBeUndefined();
  expect(tunnelFor({ timeoutMs: 5_000 }).timeoutMs).toBe(5_000);
  expect(tunnelFor({ timeoutMs: 4_294_967_295 }).timeoutMs).toBe(86_400_000);
});

test("mapped tunnels bring their options along", () => {
  const targetTls = { insecure: true, ca: "", serverName: "" };
  const key = keyOf(
    "mapped",
    [],
    [
      {
        name: "web",
        kind: "HTTP",
        hostname: "web.test",
        target: "https://nas:443",
        targetTls,
        hostHeader: "target",
        timeoutMs: 7,
      },
    ],
  );
  expect(nameTunnels(key, "client", [], RULES)).toMatchObject([
    { hostname: "web.test", target: "https://nas:443", targetTls, hostHeader: "nas", timeoutMs: 7 },
  ]);
});

describe("ports", () => {
  const OWNER = keyOf(
    "owner",
    [],
    [{ name: "ssh", kind: "TCP", port: 2222, ports: 1, target: "127.0.0.1:22" }],
  );
  const LISTED: Key = { ...keyOf("listed", []), ports: [{ from: 6000, to: 6010 }] };
  const rules = namingRules(ownedBy([OWNER, LISTED]));

  function portsFor(key: Key, more: Partial<TunnelRequest>, of = rules): string {
    try {
      return nameTunnels(key, "client", [request({ kind: "TCP", ...more })], of)
        .flatMap(publicNamesOf)
        .join(" ");
    } catch (error) {
      if (error instanceof TunnelError && error.code === "name_refused") return error.message;
      throw error;
    }
  }

  test.each<[string, Key, Partial<TunnelRequest>, string]>([
    ["one of those that any key may have", LISTED, { port: 20_003 }, "tcp:20003"],
    ["one of UDP", LISTED, { kind: "UDP", port: 20_003 }, "udp:20003"],
    ["one of its own", LISTED, { port: 6000 }, "tcp:6000"],
    ["several of its own", LISTED, { port: 6009, ports: 2 }, "tcp:6009 tcp:6010"],
    ["one that is mapped to it", OWNER, { port: 2222 }, "tcp:2222"],
    ["one beyond its own", LISTED, { port: 6010, ports: 2 }, "This key may not use the TCP port 6011."],
    ["one that nobody gave it", OWNER, { port: 80 }, "This key may not use the TCP port 80."],
    ["another key's", LISTED, { port: 2222 }, "The TCP port 2222 belongs to another key."],
    ["too many", LISTED, { port: 20_000, ports: 1_001 }, "one tunnel may have 1000"],
    ["one that there is not", LISTED, { port: 65_535, ports: 2 }, "There is no port 65536"],
    ["an odd PROXY header", LISTED, { port: 6000, proxyProtocol: 3 }, "There is no version 3"],
  ])("%s", (_, key, wanted, expected) => {
    expect(portsFor(key, wanted)).toContain(expected);
  });

  test("any free one is chosen later", () => {
    expect(portsFor(LISTED, {})).toBe("");
  });

  test("none are given away where the owner gives none away", () => {
    const none = { ...rules, freePorts: () => undefined };
    expect(portsFor(LISTED, {}, none)).toContain("gives no TCP ports away");
    expect(portsFor(LISTED, { port: 20_003 }, none)).toContain("may not use the TCP port 20003");
    expect(portsFor(LISTED, { port: 6000 }, none)).toBe("tcp:6000");
  });

  test("twice the same in one request are refused", () => {
    const twice = [request({ kind: "TCP", port: 6000, ports: 2 }), request({ kind: "TCP", port: 6001 })];
    expect(() => nameTunnels(LISTED, "client", twice, rules)).toThrow("tcp:6001 is asked for twice");
  });
});

test("TLS has names of its own, with the same rights, where visitors may come over TLS", () => {
  const key = keyOf("home", ["app.test"]);
  const tls = [request({ kind: "TLS", hostname: "app.test" }), request({ hostname: "app.test" })];
  expect(nameTunnels(key, "client", tls, namingRules()).flatMap(publicNamesOf)).toEqual([
    "tls:app.test",
    "app.test",
  ]);
  expect(() => nameTunnels(key, "client", tls, namingRules({ hasTls: false }))).toThrow("tls.listen");
  const mapped = keyOf(
    "mapped",
    [],
    [{ name: "site", kind: "TLS", hostname: "app.test", target: "127.0.0.1:443" }],
  );
  expect(() => nameTunnels(mapped, "client", [], namingRules({ hasTls: false }))).toThrow("tls.listen");
  const other = [request({ kind: "TLS", hostname: "other.test" })];
  expect(() => nameTunnels(key, "client", other, namingRules())).toThrow(
    "may not use the hostname other.test",
  );
});

test("a kind that this server does not know is refused", () => {
  const odd = [request({ kind: 9 as unknown as "TCP" })];
  expect(() => nameTunnels(keyOf("home", []), "client", odd, namingRules())).toThrow(
    "no tunnels of the kind 9",
  );
});

test("the server's own ports are nobody's, whoever maps or asks for them", () => {
  const home: Key = { ...keyOf("home", []), ports: [{ from: 6990, to: 7010 }] };
  const rules = namingRules({ ...ownedBy([home]), ownPorts: () => [{ option: "grpc.listen", port: 7000 }] });
  const asked = (kind: "TCP" | "UDP", port: number, ports: number) =>
    nameTunnels(home, "client", [request({ kind, port, ports })], rules);
  expect(() => asked("TCP", 6995, 10)).toThrow("The TCP port 7000 is the server's own (grpc.listen).");
  expect(asked("TCP", 7001, 2)).toHaveLength(1);
  expect(asked("UDP", 7000, 1)).toHaveLength(1);
  const ssh: KeyTunnel = { name: "ssh", kind: "TCP", port: 7000, ports: 1, target: "127.0.0.1:22" };
  expect(() => nameTunnels(keyOf("office", [], [ssh]), "client", [], rules)).toThrow(
    "is the server's own (grpc.listen)",
  );
});
