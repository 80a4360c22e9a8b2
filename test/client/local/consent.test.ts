import { isIP } from "node:net";
import { expect, test } from "vitest";
import { consentTo, dialledAddress, parseAllowRules } from "../../../client/local/consent.ts";
import { allowRuleFor } from "../../../link/byte-target.ts";
import { parseTarget, type TcpTarget } from "../../../link/target.ts";

test.each([
  ["127.0.0.1", true],
  ["127.255.255.254", true],
  ["::1", true],
  ["0:0:0:0:0:0:0:1", true],
  ["::ffff:127.0.0.1", true],
  ["::ffff:7f00:1", true],
  ["0:0:0:0:0:FFFF:7F00:0001", true],
  ["0.0.0.0", true],
  ["::", true],
  ["0::0", true],
  ["::ffff:0.0.0.0", true],
  ["128.0.0.1", false],
  ["126.255.255.255", false],
  ["192.168.1.1", false],
  ["10.0.0.1", false],
  ["0.0.0.1", false],
  ["169.254.169.254", false],
  ["::2", false],
  ["::127.0.0.1", false],
  ["fe80::1", false],
  ["fe80::1%eth0", false],
  ["::ffff:10.0.0.1", false],
  ["64:ff9b::127.0.0.1", false],
  ["2002:7f00:1::", false],
  ["not-an-address", false],
  ["", false],
])("by default %s is allowed: %s", (address, allowed) => {
  expect(parseAllowRules([]).allows(address, 80)).toBe(allowed);
});

test.each<[string, string, number, boolean]>([
  ["192.168.1.0/24", "192.168.1.200", 1, true],
  ["192.168.1.0/24", "192.168.2.1", 1, false],
  ["192.168.1.0/24", "::ffff:192.168.1.9", 1, true],
  ["192.168.1.0/24:80,443,8000-8100", "192.168.1.9", 443, true],
  ["192.168.1.0/24:80,443,8000-8100", "192.168.1.9", 8000, true],
  ["192.168.1.0/24:80,443,8000-8100", "192.168.1.9", 8100, true],
  ["192.168.1.0/24:80,443,8000-8100", "192.168.1.9", 8101, false],
  ["192.168.1.0/24:80,443,8000-8100", "192.168.1.9", 81, false],
  ["192.168.1.7", "192.168.1.7", 5000, true],
  ["192.168.1.7", "192.168.1.8", 5000, false],
  ["192.168.1.7:80", "192.168.1.7", 81, false],
  ["0.0.0.0/0", "8.8.8.8", 53, true],
  ["0.0.0.0/0", "2001:db8::1", 53, false],
  ["fd00::/8", "fdff::1", 80, true],
  ["fd00::/8", "fe00::1", 80, false],
  ["[fd00::/8]:80", "fd12::1", 80, true],
  ["[fd00::/8]:80", "fd12::1", 81, false],
  ["[fd00::]/8:80", "fd12::1", 80, true],
  ["fd00::5", "fd00:0:0::5", 80, true],
  ["[fd00::5]", "fd00::5", 80, true],
  ["[::1]:80", "::1", 80, true],
  ["::/0", "2001:db8::1", 80, true],
  ["::/0", "10.0.0.1", 80, false],
  ["::/0", "::ffff:10.0.0.1", 80, false],
  ["::ffff:10.0.0.0/104", "10.9.9.9", 80, true],
  ["::ffff:10.0.0.0/104", "11.0.0.1", 80, false],
  ["fe80::/10", "fe80::1%eth0", 80, true],
  ["any", "8.8.8.8", 53, true],
  ["any:53", "8.8.8.8", 53, true],
  ["any:53", "8.8.8.8", 54, false],
])("--allow %s lets %s port %i through: %s", (rule, address, port, allowed) => {
  expect(parseAllowRules([rule]).allows(address, port)).toBe(allowed);
});

test("rules add up, and loopback stays", () => {
  const consent = parseAllowRules(["10.0.0.1:80", "10.0.0.2:81"]);
  expect(consent.allows("10.0.0.1", 80)).toBe(true);
  expect(consent.allows("10.0.0.2", 81)).toBe(true);
  expect(consent.allows("10.0.0.1", 81)).toBe(false);
  expect(consent.allows("127.0.0.1", 5)).toBe(true);
});

test("none takes loopback away, and leaves what is named", () => {
  expect(parseAllowRules(["none"]).allows("127.0.0.1", 80)).toBe(false);
  expect(parseAllowRules(["none"]).allows("::1", 80)).toBe(false);
  const consent = parseAllowRules(["none", "127.0.0.1:3000"]);
  expect(consent.allows("127.0.0.1", 3000)).toBe(true);
  expect(consent.allows("127.0.0.1", 3001)).toBe(false);
});

test("without loopback exactly what is named is allowed", () => {
  const nothing = parseAllowRules([], { loopback: false });
  for (const address of ["127.0.0.1", "::1", "0.0.0.0", "10.0.0.1"])
    expect(nothing.allows(address, 80)).toBe(false);
  const consent = parseAllowRules(["127.0.0.1:3000", "10.0.0.1"], { loopback: false });
  expect(consent.allows("127.0.0.1", 3000)).toBe(true);
  expect(consent.allows("127.0.0.1", 3001)).toBe(false);
  expect(consent.allows("10.0.0.1", 22)).toBe(true);
  expect(parseAllowRules(["any"], { loopback: false }).allows("127.0.0.1", 80)).toBe(true);
});

test.each<[string[], string, boolean]>([
  [[], "nas.lan", false],
  [["none"], "nas.lan", false],
  [["nas.lan"], "NAS.lan.", true],
  [["nas.lan:81"], "nas.lan", false],
  [["db.lan"], "nas.lan", false],
  [["10.0.0.0/8"], "nas.lan", true],
  [["10.0.0.0/8:81"], "nas.lan", false],
  [["any:80"], "nas.lan", true],
  [["10.0.0.0/8"], "10.1.2.3", true],
  [["10.0.0.0/8"], "11.1.2.3", false],
  [["127.0.0.1"], "::ffff:127.0.0.1", true],
])("by %j, without loopback, %s might be dialled at port 80: %s", (rules, host, may) => {
  expect(parseAllowRules(rules, { loopback: false }).mayAllow(host, 80)).toBe(may);
});

test("by default any name might lead to loopback, and what the user typed to anything", () => {
  expect(parseAllowRules([]).mayAllow("nas.lan", 80)).toBe(true);
  expect(parseAllowRules([]).mayAllow("10.0.0.1", 80)).toBe(false);
  expect(consentTo({ host: "nas.lan", port: 80 }).mayAllow("nas.lan", 80)).toBe(true);
  expect(consentTo({ host: "nas.lan", port: 80 }).mayAllow("db.lan", 80)).toBe(false);
});

test.each<[string, number, string]>([
  ["127.0.0.1:22", 1, "127.0.0.1:22"],
  ["https://nas.lan", 1, "nas.lan:443"],
  ["[fd00::1]:80", 1, "[fd00::1]:80"],
  ["[fe80::1%eth0]:80", 1, "[fe80::1]:80"],
  ["192.168.1.40:6000", 11, "192.168.1.40:6000-6010"],
  ["[::1]:6000", 2, "[::1]:6000-6001"],
])("the rule that lets a server name %s and %i ports allows that: %s", (text, ports, rule) => {
  const target = parseTarget(text) as TcpTarget;
  expect(allowRuleFor({ target, ports })).toBe(rule);
  const consent = parseAllowRules([rule], { loopback: false });
  const { host, port } = target;
  const address = isIP(host) === 0 ? "10.0.0.1" : host;
  expect(consent.allows(address, port, host)).toBe(true);
  expect(consent.allows(address, port + ports - 1, host)).toBe(true);
  expect(consent.allows(address, port + ports, host)).toBe(false);
});

test("the rule that lets a server name a socket is its path", () => {
  const rule = allowRuleFor({ target: { path: "/run/none.sock" }, ports: 1 });
  expect(rule).toBe("unix:/run/none.sock");
  // It is looked at.
  expect(() => parseAllowRules([rule]).judgeSocket("/run/none.sock")).toThrow("ENOENT");
});

test("a hostname stands for whatever it resolves to, and for no other name", () => {
  const consent = parseAllowRules(["Nas.lan:80", "db"]);
  expect(consent.allows("10.0.0.9", 80, "nas.LAN.")).toBe(true);
  expect(consent.allows("10.0.0.9", 81, "nas.lan")).toBe(false);
  expect(consent.allows("10.0.0.9", 80, "evil.nas.lan")).toBe(false);
  expect(consent.allows("10.0.0.9", 80)).toBe(false);
  expect(consent.allows("10.0.0.8", 5432, "db")).toBe(true);
});

test("what the user typed is allowed, and nothing else", () => {
  const consent = consentTo({ host: "Nas.lan", port: 80 });
  expect(consent.allows("10.0.0.9", 80, "nas.lan")).toBe(true);
  expect(consent.allows("10.0.0.9", 81, "nas.lan")).toBe(false);
  expect(consent.allows("10.0.0.9", 80, "other.lan")).toBe(false);
  expect(consentTo({ host: "10.0.0.9", port: 80 }).allows("10.0.0.9", 80)).toBe(true);
  expect(consentTo({ host: "10.0.0.9", port: 80 }).allows("10.0.0.8", 80)).toBe(false);
});

test.each([
  ["", "expected an address range"],
  [":80", "expected an address range"],
  ["192.168.1", "expected an address range"],
  ["192.168.1.256", "expected an address range"],
  ["0x7f.1", "expected an address range"],
  ["192.168.1.0/33", "a prefix length from 0 to 32"],
  ["192.168.1.0/", "a prefix length from 0 to 32"],
  ["192.168.1.0/-1", "a prefix length from 0 to 32"],
  ["fd00::/129", "a prefix length from 0 to 128"],
  ["nas.lan/24", "expected an address range"],
  ["*", "expected an address range"],
  ["*.lan", "expected an address range"],
  ["http://nas.lan", "expected ports"],
  ["192.168.1.1:0", "expected ports"],
  ["192.168.1.1:65536", "expected ports"],
  ["192.168.1.1:", "expected ports"],
  ["192.168.1.1:80,", "expected ports"],
  ["192.168.1.1:90-80", "expected ports"],
  ["192.168.1.1:http", "expected ports"],
  ["fd00::/8:80", "in brackets"],
  ["fe80::1%eth0", "zone"],
  ["[nonsense", "expected an address range"],
])("--allow %j says what is wrong with it", (rule, message) => {
  expect(() => parseAllowRules([rule])).toThrow(`--allow ${rule}: `);
  expect(() => parseAllowRules([rule])).toThrow(message);
});

test("all wrong rules are said together, and none beside any is one", () => {
  expect(() => parseAllowRules(["1.2.3", "10.0.0.1", "a b"])).toThrow(
    /^--allow 1\.2\.3: .*\n--allow a b: .*$/,
  );
  expect(() => parseAllowRules(["none", "any:80"])).toThrow("contradict");
});

test.each([
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
  ["::ffff:0.0.0.0", "127.0.0.1"],
  ["::ffff:10.1.2.3", "10.1.2.3"],
  ["10.1.2.3", "10.1.2.3"],
  ["fd00::1", "fd00::1"],
  ["fe80::1%eth0", "fe80::1%eth0"],
])("%s is dialled as %s", (address, dialled) => {
  expect(dialledAddress(address)).toBe(dialled);
});

test("all, which would be a host of that name, is taken for the slip that it is", () => {
  expect(() => parseAllowRules(["all"])).toThrow('--allow all: expected "any" for every address, got "all"');
});
