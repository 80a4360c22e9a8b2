import { expect, test } from "vitest";
import { isExempt, isLocalHost } from "../../client/no-proxy.ts";

test.each([
  ["*", "tunnel.example.com"],
  ["tunnel.example.com", "tunnel.example.com"],
  ["Tunnel.Example.COM", "tunnel.example.com"],
  ["tunnel.example.com", "TUNNEL.example.com."],
  ["tunnel.example.com.", "tunnel.example.com"],
  ["example.com", "tunnel.example.com"],
  [".example.com", "tunnel.example.com"],
  [".example.com", "example.com"],
  ["*.example.com", "a.b.example.com"],
  ["com", "tunnel.example.com"],
  ["bücher.example", "xn--bcher-kva.example"],
  ["other.test, example.com", "tunnel.example.com"],
  ["other.test example.com,", "tunnel.example.com"],
  ["example.com:7000", "tunnel.example.com"],
  ["*:7000", "tunnel.example.com"],
  ["192.0.2.7", "192.0.2.7"],
  ["192.0.2.7:7000", "192.0.2.7"],
  ["192.0.2.0/24", "192.0.2.7"],
  ["0.0.0.0/0", "192.0.2.7"],
  ["192.0.2.7", "::ffff:192.0.2.7"],
  ["::ffff:192.0.2.7", "192.0.2.7"],
  ["2001:db8::7", "2001:DB8:0::7"],
  ["[2001:db8::7]", "2001:db8::7"],
  ["[2001:db8::7]:7000", "2001:db8::7"],
  ["2001:db8::/32", "2001:db8::7"],
])("NO_PROXY=%s names %s", (noProxy, host) => {
  expect(isExempt({ host, port: 7000 }, noProxy)).toBe(true);
});

test.each([
  ["", "tunnel.example.com"],
  [" , ,", "tunnel.example.com"],
  [".", "tunnel.example.com"],
  ["ample.com", "tunnel.example.com"],
  ["tunnel.example.com", "example.com"],
  ["www.tunnel.example.com", "tunnel.example.com"],
  ["example.com:7001", "tunnel.example.com"],
  ["*:443", "tunnel.example.com"],
  ["http://example.com", "tunnel.example.com"],
  ["192.0.2.7", "192.0.2.77"],
  ["2.7", "192.0.2.7"],
  ["192.0.2.0/25", "192.0.2.200"],
  ["192.0.2.0/99", "192.0.2.7"],
  ["192.0.2.7:443", "192.0.2.7"],
  ["0.0.0.0/0", "2001:db8::7"],
  ["::/0", "192.0.2.7"],
  ["[2001:db8::7]:443", "2001:db8::7"],
  ["192.0.2.0/24", "tunnel.example.com"],
])("NO_PROXY=%s does not name %s", (noProxy, host) => {
  expect(isExempt({ host, port: 7000 }, noProxy)).toBe(false);
});

test.each([
  "localhost",
  "LOCALHOST.",
  "app.localhost",
  "127.0.0.1",
  "127.9.9.9",
  "127.1",
  "2130706433",
  "0x7f.0.0.1",
  "0.0.0.0",
  "0",
  "::1",
  "0:0:0:0:0:0:0:1",
  "::",
  "::ffff:127.0.0.1",
  "fe80::1%eth0",
])("%s is this machine, or means something on it only", (host) => {
  expect(isLocalHost(host)).toBe(true);
});

test.each(["example.com", "localhost.example.com", "mylocalhost", "128.0.0.1", "::2", "fe80::1", "10.0.0.1"])(
  "%s is another machine",
  (host) => {
    expect(isLocalHost(host)).toBe(false);
  },
);
