import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect } from "vitest";
import { fieldValue } from "../support/raw-visitor.ts";
import { aboutTheVisitor } from "./about-the-visitor.ts";
import { acceptanceWith } from "./acceptance.ts";
import { FORWARDED, get, ok, request } from "./messages.ts";
import type { Tunnel } from "./tunnel.ts";

const acceptance = acceptanceWith({
  config: 'http:\n  trusted_proxies: [127.0.0.1, 10.0.0.0/8, 2001:db8:1::/48, "fd00::/8"]\n',
});

/** Sends a request through a proxy that is trusted, and says whom the local service takes for the visitor. */
async function seenAs(tunnel: Tunnel, ...lines: string[]): Promise<Record<string, string | undefined>> {
  tunnel.backend.answer(ok("ok"));
  const visitor = await tunnel.request(get("/", ...lines));
  expect((await visitor.answer()).status).toBe(200);
  const { fields } = tunnel.backend.requests[0]!;
  expect(aboutTheVisitor(fields)).toHaveLength(5);
  return {
    for: fieldValue(fields, "x-forwarded-for"),
    proto: fieldValue(fields, "x-forwarded-proto"),
    host: fieldValue(fields, "x-forwarded-host"),
    forwarded: fieldValue(fields, "forwarded"),
    realIp: fieldValue(fields, "x-real-ip"),
  };
}

describe("what a trusted proxy says of its visitor is believed", () => {
  acceptance.for<[name: string, fields: string[], visitor: string]>([
    ["an IPv4 address", ["X-Forwarded-For: 203.0.113.7"], "203.0.113.7"],
    ["an IPv6 address", ["X-Forwarded-For: 2001:db8::7"], "2001:db8::7"],
    ["an IPv6 address in another spelling", ["X-Forwarded-For: 2001:0DB8:0:0::0007"], "2001:db8::7"],
    ["an address with a port", ["X-Forwarded-For: 203.0.113.7:4711"], "203.0.113.7"],
    ["an IPv6 address with a port", ["X-Forwarded-For: [2001:db8::7]:4711"], "2001:db8::7"],
    ["an IPv4 address as IPv6 has it", ["X-Forwarded-For: ::ffff:203.0.113.7"], "203.0.113.7"],
    ["a visitor behind two proxies", ["X-Forwarded-For: 203.0.113.7, 10.1.2.3"], "203.0.113.7"],
    [
      "a visitor behind three of both kinds",
      ["X-Forwarded-For: 2001:db8::7, fd00::1, 10.1.2.3"],
      "2001:db8::7",
    ],
    [
      "the same in several fields",
      ["X-Forwarded-For: 2001:db8::7", "X-Forwarded-For: fd00::1, 10.1.2.3"],
      "2001:db8::7",
    ],
    [
      "what the visitor made up before it",
      ["X-Forwarded-For: 198.51.100.1, 203.0.113.7, 10.1.2.3"],
      "203.0.113.7",
    ],
    ["a proxy's address that it made up", ["X-Forwarded-For: 10.9.9.9, 203.0.113.7"], "203.0.113.7"],
    ["no address behind a good one", ["X-Forwarded-For: nonsense, 203.0.113.7"], "203.0.113.7"],
    ["empty members", ["X-Forwarded-For: , ,203.0.113.7, ,"], "203.0.113.7"],
    ["a proxy that asks by itself", ["X-Forwarded-For: 10.1.2.3"], "10.1.2.3"],
    ["nothing", [], "127.0.0.1"],
    ["no address at all", ["X-Forwarded-For: unknown"], "127.0.0.1"],
    ["a name", ["X-Forwarded-For: localhost"], "127.0.0.1"],
    ["an address that is none", ["X-Forwarded-For: 256.1.1.1"], "127.0.0.1"],
    ["an octal one", ["X-Forwarded-For: 0313.0.113.7"], "127.0.0.1"],
    ["markup", ["X-Forwarded-For: <b>"], "127.0.0.1"],
    ["Forwarded, which it may have passed on", ["Forwarded: for=203.0.113.7"], "127.0.0.1"],
    ["X-Real-IP, which it may have passed on", ["X-Real-IP: 203.0.113.7"], "127.0.0.1"],
    ["another spelling, which it did not set", ["X_Forwarded_For: 203.0.113.7"], "127.0.0.1"],
  ])("%s", async ([, fields, visitor], { tunnel }) => {
    const node = visitor.includes(":") ? `"[${visitor}]"` : visitor;
    expect(await seenAs(tunnel, ...fields)).toEqual({
      for: visitor,
      proto: "http",
      host: "app.localhost",
      forwarded: `for=${node};host=app.localhost;proto=http`,
      realIp: visitor,
    });
  });

  acceptance.for<[name: string, fields: string[], proto: string, host: string]>([
    [
      "its scheme and host",
      ["X-Forwarded-Proto: https", "X-Forwarded-Host: shop.test"],
      "https",
      "shop.test",
    ],
    [
      "the last of several",
      ["X-Forwarded-Proto: http, https", "X-Forwarded-Host: a.test, b.test"],
      "https",
      "b.test",
    ],
    ["a WebSocket's scheme", ["X-Forwarded-Proto: wss"], "https", "app.localhost"],
    ["a scheme that is none", ["X-Forwarded-Proto: gopher"], "http", "app.localhost"],
    ["a host that is none", ["X-Forwarded-Host: a/b"], "http", "app.localhost"],
    ["a host with user information", ["X-Forwarded-Host: a@b"], "http", "app.localhost"],
  ])("%s", async ([, fields, proto, host], { tunnel }) => {
    expect(await seenAs(tunnel, "X-Forwarded-For: 203.0.113.7", ...fields)).toMatchObject({ proto, host });
  });

  acceptance("and a request goes where its own Host says all the same", async ({ tunnel }) => {
    const visitor = await tunnel.request(
      "GET / HTTP/1.1\r\nHost: nobody.localhost\r\nX-Forwarded-Host: app.localhost\r\n\r\n",
    );
    expect((await visitor.answer()).status).toBe(404);
    expect(tunnel.backend.requests).toEqual([]);
  });

  acceptance("and what somebody else says is not", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const { host, port } = tunnel.address;
    const socket = connect({ host, port, localAddress: "127.0.0.2" });
    await once(socket, "connect");
    const [[name, mark]] = Object.entries(tunnel.mark()) as [[string, string]];
    const spoofed = [
      "X-Forwarded-For: 203.0.113.7",
      "X-Forwarded-Proto: https",
      "X-Forwarded-Host: shop.test",
    ];
    socket.write(request("GET /", [`${name}: ${mark}`, "Connection: close", ...spoofed]));
    expect(String(await socket.setEncoding("latin1").toArray())).toContain("200 OK");
    expect(aboutTheVisitor(tunnel.backend.requests[0]!.fields)).toEqual(
      FORWARDED.map((line) => line.replace("127.0.0.1", "127.0.0.2")),
    );
  });
});
