import type { LookupAddress } from "node:dns";
import { expect, test } from "vitest";
import { NameLookup } from "../../runtime/name-lookup.ts";

type Answer = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

const ADDRESS: LookupAddress = { address: "192.0.2.1", family: 4 };

/** A resolver whose answers are given by hand, and a clock. */
function world() {
  const asked: { host: string; answer: Answer }[] = [];
  const clock = { ms: 0 };
  const names = new NameLookup({
    lookup: (host, _options, answer) => void asked.push({ host, answer }),
    now: () => clock.ms,
  });
  const target = (host: string): Promise<string[]> =>
    new Promise((resolve, reject) =>
      names.target(host, { all: true }, (error, addresses) =>
        error ? reject(error) : resolve(addresses.map(({ address }) => address)),
      ),
    );
  const found = (addresses = [ADDRESS]): void => asked.shift()!.answer(null, addresses);
  const failed = (code = "ENOTFOUND"): void =>
    asked.shift()!.answer(Object.assign(new Error(code), { code, syscall: "getaddrinfo" }), []);
  return { names, target, asked, clock, found, failed, hosts: () => asked.map(({ host }) => host) };
}

test("a name is looked up once for all who ask meanwhile", async () => {
  const { target, hosts, found } = world();
  const all = [target("nas.test"), target("nas.test"), target("nas.test")];
  expect(hosts()).toEqual(["nas.test"]);
  found();
  expect(await Promise.all(all)).toEqual([["192.0.2.1"], ["192.0.2.1"], ["192.0.2.1"]]);
});

test("addresses are remembered for 30 s, a failure for 10 s", async () => {
  const { target, hosts, found, failed, clock } = world();
  const first = target("nas.test");
  found();
  await first;
  clock.ms = 29_999;
  expect(await target("nas.test")).toEqual(["192.0.2.1"]);
  expect(hosts()).toEqual([]);

  const none = target("none.test");
  failed();
  await expect(none).rejects.toMatchObject({ code: "ENOTFOUND" });
  clock.ms += 9_999;
  await expect(target("none.test")).rejects.toMatchObject({ code: "ENOTFOUND" });
  expect(hosts()).toEqual([]);
  clock.ms += 1;
  void target("none.test").catch(() => {});
  expect(hosts()).toEqual(["none.test"]);
});

test("targets take one of the two places that there are, and the server's name the other", async () => {
  const { names, target, hosts, asked } = world();
  void target("dead.test").catch(() => {});
  void target("dead-too.test").catch(() => {});
  const server = [names.server("tunnel.test"), names.server("tunnel.test")];
  expect(hosts()).toEqual(["dead.test", "tunnel.test"]);
  asked[1]!.answer(null, [ADDRESS]);
  expect(await Promise.all(server)).toEqual([["192.0.2.1"], ["192.0.2.1"]]);
});

test("the server's name is looked up afresh each time", async () => {
  const { names, hosts, found } = world();
  const first = names.server("tunnel.test");
  found();
  await first;
  void names.server("tunnel.test");
  expect(hosts()).toEqual(["tunnel.test"]);
});

test("names that failed the last time wait behind all others", async () => {
  const { target, hosts, found, failed, clock } = world();
  const first = target("none.test");
  failed();
  await expect(first).rejects.toThrow("ENOTFOUND");
  clock.ms = 10_000;
  const all = ["busy.test", "none.test", "nas.test"].map((host) => target(host).catch(() => []));
  found();
  expect(hosts()).toEqual(["nas.test"]);
  found();
  expect(hosts()).toEqual(["none.test"]);
  found();
  await Promise.all(all);
});

test("while others are looked up, a name that was found before is answered as it was", async () => {
  const { target, hosts, found, clock } = world();
  const first = target("nas.test");
  found();
  await first;
  clock.ms = 30_000;
  void target("dead.test").catch(() => {});
  expect(await target("nas.test")).toEqual(["192.0.2.1"]);
  expect(hosts()).toEqual(["dead.test"]);
  // It is looked up when its turn comes.
  found();
  expect(hosts()).toEqual(["nas.test"]);
  found([{ address: "192.0.2.2", family: 4 }]);
  expect(await target("nas.test")).toEqual(["192.0.2.2"]);
});
