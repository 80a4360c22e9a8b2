import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import type { Program } from "../support/processes.ts";
import { acceptance, whole, WHOLE } from "./acceptance.ts";
import { BROKEN_OFF, Moments } from "./faults-moments.ts";
import { get, ok, request } from "./messages.ts";
import type { Tunnel } from "./tunnel.ts";
import { within } from "./within.ts";

const SOON_MS = 5_000;
const BACK_MS = 8_000;
/** How long either end lets open requests finish. */
const GRACE_MS = 30_000;
const CHUNKED = "Transfer-Encoding: chunked";

/** The session is lost, once or more. */
const LOST = /"message":"(?:client offline|offline; trying again)"/;

/** Ended, and the server knows. */
async function killClient({ client, server }: Tunnel): Promise<void> {
  const before = server.lines.filter(({ message }) => message === "client offline").length;
  client.kill("SIGKILL");
  await client.exited;
  await server.logged("client offline", before + 1);
}

describe("a client that is killed", () => {
  acceptance(
    "is noticed: who waits gets a page, who reads sees a cut, who is upgraded an end, all within 5 s",
    async ({ tunnel }) => {
      tunnel.allow(LOST);
      const moments = await Moments.reach(tunnel);
      tunnel.client.kill("SIGKILL");
      expect(await moments.outcomes(SOON_MS)).toEqual(BROKEN_OFF);
      await tunnel.startClient();
    },
  );

  acceptance(
    "and started again three times in a row has its name back within 8 s, and serves who came meanwhile",
    async ({ tunnel }) => {
      tunnel.allow(LOST);
      tunnel.backend.answer(ok("held"));
      const kept = await tunnel.request(get("/before"));
      await kept.answer();
      for (let round = 0; round < 3; round++) {
        await killClient(tunnel);
        const visitors = [
          kept.request(get("/kept")),
          await tunnel.request(get("/get")),
          await tunnel.request(request("POST /length", ["Content-Length: 4"], "body")),
          await tunnel.request(request("POST /chunks", [CHUNKED], "4\r\nbody\r\n0\r\n\r\n")),
        ];
        tunnel.backend.requests = [];
        const startedAt = performance.now();
        await tunnel.startClient();
        // The server keeps them for 3 s at most: none of them would be served if the name came later than that.
        for (const visitor of visitors)
          expect((await within(SOON_MS, visitor.answer())).body.toString()).toBe("held");
        expect(performance.now() - startedAt).toBeLessThan(BACK_MS);
        const arrived = tunnel.backend.requests.map(
          async ({ target, body }) => [target, (await body()).bytes.toString()] as const,
        );
        expect(arrived).toHaveLength(visitors.length);
        expect(Object.fromEntries(await Promise.all(arrived))).toEqual({
          "/kept": "",
          "/get": "",
          "/length": "body",
          "/chunks": "body",
        });
      }
    },
  );

  whole(
    "and stays away for longer than 3 s costs a visitor a 503 then, and no sooner",
    async ({ tunnel }) => {
      tunnel.allow(LOST);
      await killClient(tunnel);
      const startedAt = performance.now();
      const visitor = await tunnel.request(get());
      expect((await visitor.answer()).status).toBe(503);
      expect(performance.now() - startedAt).toBeGreaterThan(2_900);
      expect(performance.now() - startedAt).toBeLessThan(SOON_MS);
      await tunnel.startClient();
    },
  );
});

describe("a server that is killed", () => {
  const absences: [seconds: number, backWithinMs: number][] = WHOLE
    ? [
        [3, 12_000],
        [60, 35_000],
      ]
    : [[1, 12_000]];
  acceptance.for(absences)(
    "for %i s leaves nobody hanging on either side, and has its client back soon after its return",
    { timeout: 120_000 },
    async ([seconds, backWithinMs], { tunnel }) => {
      tunnel.allow(LOST);
      const moments = await Moments.reach(tunnel);
      tunnel.server.kill("SIGKILL");
      // Nobody is left who could say more than that the connection is over.
      for (const [moment, outcome] of Object.entries(await moments.outcomes(SOON_MS)))
        expect([moment, outcome]).toEqual([
          moment,
          expect.stringMatching(/^(?:cut|over|an end like any other)$/),
        ]);
      await moments.serviceTold(SOON_MS);
      await sleep(seconds * 1_000);
      await tunnel.startServer();
      await tunnel.served(backWithinMs);
    },
  );
});

type End = "client" | "server";

/** The end that has stopped is there again for the next case. */
async function startAgain(tunnel: Tunnel, end: End): Promise<void> {
  if (end === "client") return tunnel.startClient();
  await tunnel.startServer();
  return tunnel.served(12_000);
}

describe("a process that is frozen", () => {
  acceptance.for<End>(["client", "server"])(
    "for a moment, the %s, answers everybody once it is thawed, and no session is lost",
    async (end, { tunnel }) => {
      tunnel.backend.answer(ok("thawed"));
      const kept = await tunnel.request(get());
      await kept.answer();
      tunnel[end].kill("SIGSTOP");
      const visitors = [kept.request(get()), await tunnel.request(get()), await tunnel.request(get())];
      await sleep(500);
      tunnel[end].kill("SIGCONT");
      for (const visitor of visitors)
        expect((await within(SOON_MS, visitor.answer())).body.toString()).toBe("thawed");
    },
  );

  whole(
    "for 40 s, the client: visitors are answered meanwhile, and it serves again within 20 s",
    { timeout: 90_000 },
    async ({ tunnel }) => {
      tunnel.allow(LOST);
      const moments = await Moments.reach(tunnel);
      tunnel.client.kill("SIGSTOP");
      const frozen = sleep(40_000);
      expect(await moments.outcomes(30_000)).toEqual(BROKEN_OFF);
      const visitor = await tunnel.request(get());
      expect((await within(SOON_MS, visitor.answer())).status).toBe(503);
      await frozen;
      tunnel.client.kill("SIGCONT");
      await tunnel.served(20_000);
      await moments.serviceTold(SOON_MS);
    },
  );

  whole(
    "for 40 s, the server: who came meanwhile is answered once it is thawed, and it is served again within 20 s",
    { timeout: 90_000 },
    async ({ tunnel }) => {
      tunnel.allow(LOST);
      const moments = await Moments.reach(tunnel);
      tunnel.server.kill("SIGSTOP");
      tunnel.backend.answer(ok("thawed"));
      const visitors = [await tunnel.request(get()), await tunnel.request(get())];
      // The client has given it up by then, and tells the local service.
      await moments.serviceTold(30_000);
      await sleep(10_000);
      tunnel.server.kill("SIGCONT");
      for (const visitor of visitors)
        expect([200, 502, 503]).toContain((await within(SOON_MS, visitor.answer())).status);
      expect(await moments.outcomes(SOON_MS)).toEqual(BROKEN_OFF);
      await tunnel.served(20_000);
    },
  );
});

async function tellToStop(program: Program): Promise<void> {
  program.kill("SIGTERM");
  await program.logged("stopping; open requests may finish, a second signal ends at once");
}

describe("SIGTERM", () => {
  acceptance.for<End>(["client", "server"])(
    "to the %s: requests in flight finish with 200, and it exits with 0",
    async (end, { tunnel }) => {
      tunnel.allow(LOST);
      const arrive = async (sent: string, ...answered: string[]) => {
        const arrived = tunnel.backend.next();
        const visitor = await tunnel.request(sent);
        const asked = await arrived;
        await asked.connection.send(...answered);
        return { visitor, asked };
      };
      const waits = await arrive(get("/waits"));
      const length = await arrive(request("POST /length", ["Content-Length: 8"], "half"));
      const chunks = await arrive(request("POST /chunks", [CHUNKED], "4\r\nhalf\r\n"));
      const reads = await arrive(get("/reads"), "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
      const events = await arrive(get("/events"), `HTTP/1.1 200 OK\r\n${CHUNKED}\r\n\r\n4\r\nhalf\r\n`);
      const closes = await arrive(get("/closes"), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf");

      await tellToStop(tunnel[end]);
      await waits.asked.connection.send(ok("halfhalf"));
      length.visitor.send("half");
      chunks.visitor.send("4\r\nhalf\r\n0\r\n\r\n");
      for (const { asked } of [length, chunks]) {
        const { bytes } = await within(SOON_MS, asked.body());
        await asked.connection.send(ok(bytes.toString()));
      }
      await reads.asked.connection.send("half");
      await events.asked.connection.send("4\r\nhalf\r\n0\r\n\r\n");
      await closes.asked.connection.send("half");
      closes.asked.connection.end();
      for (const { visitor, asked } of [waits, length, chunks, reads, events, closes]) {
        const { status, body } = await within(SOON_MS, visitor.answer());
        expect([asked.target, status, body.toString()]).toEqual([asked.target, 200, "halfhalf"]);
      }
      expect(await within(SOON_MS, tunnel[end].exited)).toEqual({ code: 0, signal: null });
      await startAgain(tunnel, end);
    },
  );

  whole.for<End>(["client", "server"])(
    "to the %s: what has no end is cut at the grace time, visibly, and it exits with 0",
    { timeout: 60_000 },
    async (end, { tunnel }) => {
      tunnel.allow(LOST);
      const moments = await Moments.reach(tunnel);
      const startedAt = performance.now();
      await tellToStop(tunnel[end]);
      const outcomes = await moments.outcomes(GRACE_MS + SOON_MS);
      expect(performance.now() - startedAt).toBeGreaterThan(GRACE_MS - 500);
      if (end === "client") expect(outcomes).toEqual(BROKEN_OFF);
      else expect(outcomes["reads in HTTP/1.0 what ends by close"]).toBe("cut");
      expect(await within(SOON_MS, tunnel[end].exited)).toEqual({ code: 0, signal: null });
      await startAgain(tunnel, end);
    },
  );
});
