import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { RawBackend } from "../support/raw-backend.ts";
import { CLIENT, startProgram } from "../support/processes.ts";
import { acceptanceWith } from "./acceptance.ts";
import { Bystander } from "./bystander.ts";
import { get, ok, request } from "./messages.ts";
import type { Tunnel } from "./tunnel.ts";
import { within } from "./within.ts";

/** "In under 3 s." */
const SOON_MS = 3_000;
const OTHERS_MS = 500;
const TIMEOUT_MS = 1_000;
const HASTY_MS = 300;

const acceptance = acceptanceWith({ config: `http: { timeout_ms: ${TIMEOUT_MS} }\n` });

/** A second client: `hasty` has the same service with a time limit of its own, `other` another one that is well. */
async function secondClient(tunnel: Tunnel) {
  const other = await RawBackend.answering(ok("other"));
  const { host, port } = tunnel.backend.target;
  const config = join(tunnel.directory, "second.yaml");
  await writeFile(
    config,
    [
      `key: ${tunnel.token}`,
      `data_dir: ${tunnel.directory}/second`,
      "tunnels:",
      `  - { type: http, target: "${host}:${port}", subdomain: hasty, timeout_ms: ${HASTY_MS} }`,
      `  - { type: http, target: "127.0.0.1:${other.target.port}", subdomain: other }`,
    ].join("\n"),
  );
  const client = startProgram(CLIENT, ["--config", config]);
  await client.logged("serving", 2);
  return {
    async [Symbol.asyncDispose]() {
      client.kill("SIGTERM");
      await client.exited;
      await client[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    },
  };
}

/** One visit on a connection of its own, in time. */
async function visit(tunnel: Tunnel, sent: string): Promise<number> {
  const visitor = await tunnel.request(sent);
  return (await within(SOON_MS, visitor.answer())).status;
}

acceptance(
  "a local service that is down, comes and goes, resets or never answers costs its own visitors a 502 or 504 in under 3 s, heals as fast, and others nothing",
  { timeout: 60_000 },
  async ({ tunnel }) => {
    // The second client leaves in the end.
    tunnel.allow(/"reason":"it left"/);
    await using _second = await secondClient(tunnel);
    const bystander = new Bystander(tunnel, "other.localhost");
    const upload = request("POST /", ["Content-Length: 4"], "body");
    const { backend } = tunnel;

    for (let flap = 0; flap < 5; flap++) {
      backend.answer(ok("up"));
      expect([await visit(tunnel, get()), await visit(tunnel, upload)]).toEqual([200, 200]);
      await backend.down();
      for (const connection of backend.connections) connection.close();
      expect([await visit(tunnel, get()), await visit(tunnel, upload)]).toEqual([502, 502]);
      await backend.up();
    }

    for (const quit of ["reset", "close"] as const) {
      backend.serve(({ connection }) => connection[quit]());
      expect([await visit(tunnel, get()), await visit(tunnel, upload)]).toEqual([502, 502]);
      backend.answer(ok("up"));
      expect([await visit(tunnel, get()), await visit(tunnel, upload)]).toEqual([200, 200]);
    }

    backend.serve(() => {});
    const answeredIn = async (host: string): Promise<number> => {
      const startedAt = performance.now();
      const status = await visit(tunnel, `GET /never HTTP/1.1\r\nHost: ${host}.localhost\r\n\r\n`);
      expect([host, status]).toEqual([host, 504]);
      return performance.now() - startedAt;
    };
    const [app, hasty] = await Promise.all([answeredIn("app"), answeredIn("hasty")]);
    expect(hasty).toBeGreaterThan(HASTY_MS - 10);
    expect(app).toBeGreaterThan(TIMEOUT_MS - 10);
    expect(hasty).toBeLessThan(app);
    const given = backend.requests.filter(({ target }) => target === "/never");
    await within(SOON_MS, Promise.all(given.map(({ connection }) => connection.untilClosed())));
    backend.answer(ok("up"));
    expect(await visit(tunnel, get())).toBe(200);

    expect(await bystander.leave()).toBeLessThan(OTHERS_MS);
  },
);
