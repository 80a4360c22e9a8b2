import { expect, onTestFinished } from "vitest";
import { fieldValue } from "../support/raw-visitor.ts";
import { http, startTestClient } from "../support/tunnel-ends.ts";
import { acceptance, WHOLE } from "./acceptance.ts";
import { besideBystanders, Bystander } from "./bystander.ts";
import { ok } from "./messages.ts";
import { openDescriptors, residentBytes } from "./process-use.ts";

const CLIENTS = WHOLE ? 1_000 : 20;
/** As many dial at once. */
const AT_ONCE = 50;
const CLIENT_BYTES = 512 * 1024;
/** What 95 of 100 visits take while others come, mostly by TLS handshakes of this process too. */
const BESIDE_MS = 500;

acceptance(
  `${CLIENTS} clients on one server are each reached by their name, others are served in time while they come and go, and nothing of them is left`,
  { timeout: 300_000 },
  async ({ tunnel }) => {
    tunnel.allow(/"message":"client offline"/);
    tunnel.backend.serve(
      besideBystanders(({ fields, connection }) => connection.send(ok(fieldValue(fields, "host")!))),
    );
    const { server, token, backend } = tunnel;
    await new Bystander(tunnel).leave();
    const empty = { descriptors: await openDescriptors(server.pid), bytes: await residentBytes(server.pid) };

    const bystander = new Bystander(tunnel);
    const clients: ReturnType<typeof startTestClient>[] = [];
    const leave = () => Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
    onTestFinished(async () => {
      await leave();
    });
    for (let first = 0; first < CLIENTS; first += AT_ONCE) {
      const batch = Array.from({ length: Math.min(AT_ONCE, CLIENTS - first) }, (_, i) =>
        startTestClient(token, {
          clientId: `of-many-${first + i}`,
          tunnels: [http(backend.target.port, `c${first + i}`)],
        }),
      );
      clients.push(...batch);
      await Promise.all(batch.map((client) => client.online()));
    }
    expect(await bystander.leave()).toBeLessThan(BESIDE_MS);
    expect((await residentBytes(server.pid)) - empty.bytes).toBeLessThan(
      CLIENTS * CLIENT_BYTES + 32 * 1024 * 1024,
    );

    for (let i = 0; i < CLIENTS; i++) {
      const visitor = await tunnel.request(`GET / HTTP/1.1\r\nHost: c${i}.localhost\r\n\r\n`);
      expect((await visitor.answer()).body.toString()).toBe(`c${i}.localhost`);
      visitor.close();
    }
    await leave();
    await expect
      .poll(() => openDescriptors(server.pid), { timeout: 10_000 })
      .toBeLessThanOrEqual(empty.descriptors);
  },
);
