import { describe, expect, test } from "vitest";
import { peerOf } from "../../../../server/edge/http/forwarding.ts";
import { TrustedProxies } from "../../../../server/edge/http/trusted-proxies.ts";
import { EdgeUnderTest, get } from "./edge-under-test.ts";

const PROXY = "10.0.0.1";
const proxies = new TrustedProxies(["10.0.0.0/8", "192.0.2.7", "fd00::/8"]);

function hostNamed(value: string): string | undefined {
  return proxies.visitorBehind(peerOf(PROXY), ["X-Forwarded-Host", value]).host;
}

describe("who asks", () => {
  test.each<[name: string, forwardedFor: string[], address: string]>([
    ["the proxy itself, if it names nobody", [], PROXY],
    ["whom the proxy names", ["203.0.113.9"], "203.0.113.9"],
    ["the last that is not trusted, and nobody before it", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"],
    ["whom the first of several proxies names", ["203.0.113.9, 10.1.1.1, 192.0.2.7"], "203.0.113.9"],
    ["named over several fields", ["198.51.100.1", "203.0.113.9", "10.1.1.1"], "203.0.113.9"],
    ["the first of all, where all are trusted", ["10.3.0.1, 10.2.0.1"], "10.3.0.1"],
    ["an IPv6 address in its one spelling", ["2001:DB8:0::1"], "2001:db8::1"],
    ["an address behind a trusted IPv6 one", ["2001:db8::1, FD00::2"], "2001:db8::1"],
    ["an address with its port", ["203.0.113.9:4711"], "203.0.113.9"],
    ["an IPv6 address with its port", ["[2001:db8::1]:4711"], "2001:db8::1"],
    ["an IPv4 address within IPv6", ["::ffff:203.0.113.9"], "203.0.113.9"],
    ["the proxy, if what it names is no address", ["unknown"], PROXY],
    ["the proxy behind one that names nonsense", ["203.0.113.9, nonsense, 10.1.1.1"], "10.1.1.1"],
    ["nobody in empty elements", ["203.0.113.9, , "], "203.0.113.9"],
    ["no address in an odd spelling", ["0x7f.1"], PROXY],
    ["nobody in an empty list", ["", ","], PROXY],
    ["named behind an empty field", ["203.0.113.9", ""], "203.0.113.9"],
    ["behind 31 proxies", [`203.0.113.9${", 10.1.1.1".repeat(31)}`], "203.0.113.9"],
    [
      "one of the proxies, behind more than anyone has",
      [`203.0.113.9${", 10.1.1.1".repeat(32)}`],
      "10.1.1.1",
    ],
    ["the proxy, behind more commas than anyone writes", [`203.0.113.9${",".repeat(32)}`], PROXY],
  ])("is %s", (_, values, address) => {
    const fields = values.flatMap((value) => ["X-Forwarded-For", value]);
    expect(proxies.visitorBehind(peerOf(PROXY), fields)).toEqual(peerOf(address));
  });

  test("costs the same however many are named", () => {
    const fields = ["X-Forwarded-For", Array<string>(6_000).fill("fd00::1").join(", ")];
    proxies.visitorBehind(peerOf(PROXY), fields);
    const before = process.cpuUsage();
    for (let i = 0; i < 60; i++) proxies.visitorBehind(peerOf(PROXY), fields);
    const { user, system } = process.cpuUsage(before);
    // 6,000 looked at took some hundred milliseconds.
    expect((user + system) / 60 / 1_000).toBeLessThan(5);
  });

  test.each<[proto: string[], scheme: string]>([
    [["https"], "https"],
    [["HTTPS"], "https"],
    [["wss"], "https"],
    [["http"], "http"],
    [["https, http"], "http"],
    [["https", "http"], "http"],
    [["javascript"], "http"],
    [[], "http"],
  ])("came by X-Forwarded-Proto %j: %s", (values, scheme) => {
    const fields = values.flatMap((value) => ["x-forwarded-proto", value]);
    expect(proxies.visitorBehind(peerOf(PROXY), fields).scheme).toBe(scheme);
  });

  test("asked for the host that the proxy names, if that is one", () => {
    expect(hostNamed("shop.example.com:8443")).toBe("shop.example.com:8443");
    expect(hostNamed("a.test, b.test")).toBe("b.test");
    expect(hostNamed("a b")).toBeUndefined();
    expect(hostNamed('a";evil')).toBeUndefined();
  });

  test.each<[port: string, prefix: string, kept: { port?: string; prefix?: string }]>([
    ["8443", "/shop", { port: "8443", prefix: "/shop" }],
    ["1, 443", "/evil, /shop/", { port: "443", prefix: "/shop/" }],
    ["65535", "/", { port: "65535", prefix: "/" }],
    ["0", "shop", {}],
    ["https", "//evil.test", {}],
    ["", "/\\evil.test", {}],
    ["443;x", "https://evil.test/", {}],
  ])("came to the port %j and the path %j that the proxy names, if they are such", (port, prefix, kept) => {
    const fields = ["X-Forwarded-Port", port, "x-forwarded-prefix", prefix];
    expect(proxies.visitorBehind(peerOf(PROXY), fields)).toEqual({ ...peerOf(PROXY), ...kept });
  });
});

const CLAIMS =
  "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\nForwarded: for=1.2.3.4\r\n" +
  "X-Real-IP: 1.2.3.4\r\nX-Forwarded-Port: 8443\r\nX-Forwarded-Prefix: /shop\r\nX_Forwarded_Prefix: /evil\r\n";

test("a trusted proxy's word reaches the local service and the log, and its Forwarded does not", async () => {
  await using world = await EdgeUnderTest.start({ trustedProxies: ["127.0.0.1"] });
  await world.send(get("/", CLAIMS));
  const visit = await world.route.next();
  expect(visit.values("x-forwarded-for")).toEqual(["203.0.113.9"]);
  expect(visit.values("x-forwarded-proto")).toEqual(["https"]);
  expect(visit.values("x-forwarded-host")).toEqual(["shop.test"]);
  expect(visit.values("forwarded")).toEqual(["for=203.0.113.9;host=shop.test;proto=https"]);
  expect(visit.values("host")).toEqual(["app.test"]);
  expect(visit.values("x-real-ip")).toEqual(["203.0.113.9"]);
  expect(visit.values("x-forwarded-port")).toEqual(["8443"]);
  expect(visit.values("x-forwarded-prefix")).toEqual(["/shop"]);
  expect(visit.request.visitor).toBe("203.0.113.9");
  visit.respond(204);
  expect((await world.line((line) => line["status"] === 204))["visitor"]).toBe("203.0.113.9");
});

test("nobody else is believed", async () => {
  await using world = await EdgeUnderTest.start({ trustedProxies: ["10.0.0.0/8", "::1"] });
  await world.send(get("/", CLAIMS));
  const visit = await world.route.next();
  expect(visit.values("x-forwarded-for")).toEqual(["127.0.0.1"]);
  expect(visit.values("x-forwarded-proto")).toEqual(["http"]);
  expect(visit.values("x-forwarded-host")).toEqual(["app.test"]);
  expect(visit.values("x-real-ip")).toEqual(["127.0.0.1"]);
  expect(visit.values("x-forwarded-port")).toEqual([]);
  expect(visit.values("x-forwarded-prefix")).toEqual([]);
  expect(visit.request.visitor).toMatch(/^127\.0\.0\.1:\d+$/);
});

test("a request on a kept connection may be another visitor's", async () => {
  await using world = await EdgeUnderTest.start({ trustedProxies: ["127.0.0.0/8"] });
  const proxy = await world.send(get("/", "X-Forwarded-For: 203.0.113.9\r\n"));
  (await world.route.next()).respond(200);
  await proxy.answer();
  proxy.send(get("/", "X-Forwarded-For: 2001:db8::7\r\n"));
  expect((await world.route.next()).values("forwarded")).toEqual([
    'for="[2001:db8::7]";host=app.test;proto=http',
  ]);
});
