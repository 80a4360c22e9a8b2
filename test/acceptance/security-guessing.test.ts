import { randomBytes } from "node:crypto";
import { describe, expect } from "vitest";
import { decodeAccessKey, encodeAccessKey } from "../../link/access-key.ts";
import { RawClient, wanted } from "../support/raw-client.ts";
import { acceptance } from "./acceptance.ts";
import { makeKey } from "./more-keys.ts";
import { plainWayTo } from "./plain-way.ts";
import type { Tunnel } from "./tunnel.ts";

/** Tries that are looked at in a row, and some that come again while these are made. */
const LOOKED_AT = 10;
const COME_AGAIN = 10;

/** What the server says to each of so many guesses, made all at once. */
async function guess(
  tunnel: Tunnel,
  count: number,
  keyOf: () => string,
  from: (i: number) => string = () => "127.0.0.1",
): Promise<Record<string, number>> {
  const said: Record<string, number> = {};
  const guesses = Array.from({ length: count }, async (_, i) => {
    await using way = await plainWayTo({ host: tunnel.address.host, port: tunnel.server.grpcPort }, from(i));
    using client = new RawClient(way.port).hello(keyOf(), {
      wanted: [wanted("guessed", { target: "127.0.0.1:1" })],
    });
    const { refused } = await client.heard.message("refused");
    said[refused.code] = (said[refused.code] ?? 0) + 1;
    if (refused.code === "overloaded") expect(refused.message).toMatch(/[Tt]ry again/);
  });
  await Promise.all(guesses);
  return said;
}

describe("keys that are guessed are looked at slowly", () => {
  acceptance.for<[what: string, keyOf: (token: string) => () => string]>([
    [
      "secrets for a key that there is",
      (token) => () => encodeAccessKey({ ...decodeAccessKey(token), secret: randomBytes(16) }),
    ],
    [
      "keys that there are not",
      (token) => () =>
        encodeAccessKey({ ...decodeAccessKey(token), keyId: randomBytes(8), secret: randomBytes(16) }),
    ],
  ])("%s; and who has the right one comes in all the same, by itself", async ([, keyOf], { tunnel }) => {
    tunnel.allow(/client refused|client offline|offline; trying again/);
    tunnel.replace();
    const victim = await makeKey(tunnel, "victim");
    const before = tunnel.server.output().length;
    const said = await guess(tunnel, 100, keyOf(victim));
    expect(said["key_refused"]).toBeGreaterThanOrEqual(LOOKED_AT);
    expect(said["key_refused"]).toBeLessThanOrEqual(LOOKED_AT + COME_AGAIN);
    expect(said["key_refused"]! + said["overloaded"]!).toBe(100);
    // Nor do they fill the disk.
    expect(tunnel.server.output().slice(before).split("client refused").length).toBeLessThan(20);
    // The tunnel's own client is served meanwhile, and comes back from the very address that the guesses came from.
    await tunnel.served(1_000);
    tunnel.client.kill("SIGKILL");
    await tunnel.startClient();
    await tunnel.served(1_000);
  });

  acceptance("secrets for one key from a hundred addresses, as from one", async ({ tunnel }) => {
    tunnel.allow(/client refused|client offline/);
    tunnel.replace();
    const victim = await makeKey(tunnel, "victim");
    const guessed = () => encodeAccessKey({ ...decodeAccessKey(victim), secret: randomBytes(16) });
    const said = await guess(tunnel, 100, guessed, (i) => `127.77.1.${i + 1}`);
    expect(said["key_refused"]).toBeGreaterThanOrEqual(LOOKED_AT);
    expect(said["key_refused"]).toBeLessThanOrEqual(LOOKED_AT + COME_AGAIN);
    await tunnel.served(1_000);
  });
});
