import { expect, test } from "vitest";
import { saying, startLocalWeb } from "../support/local-web.ts";
import { startClientProcess } from "../support/processes.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { mapped, startTestServer } from "../support/tunnel-ends.ts";

type Case = [said: string, allow: string[], target: string, status: number];

/** The local service listens on 127.0.0.2. */
const CASES: Case[] = [
  ["by default loopback is allowed", [], "127.0.0.2:PORT", 200],
  ["--allow none leaves nothing that the server may name", ["none"], "127.0.0.2:PORT", 502],
  ["what is allowed beside none is dialled", ["none", "127.0.0.2/32:PORT"], "127.0.0.2:PORT", 200],
  ["another port of an allowed address is not", ["none", "127.0.0.2/32:1"], "127.0.0.2:PORT", 502],
  ["another address is not", ["none", "127.0.0.3/32:PORT"], "127.0.0.2:PORT", 502],
  ["the address that an IPv6 one stands for counts", ["none", "127.0.0.2"], "[::ffff:127.0.0.2]:PORT", 200],
];

test.each(CASES)("%s", async (_said, allow, target, status) => {
  await using web = await startLocalWeb(saying("served"), "127.0.0.2");
  const withPort = (text: string): string => text.replace("PORT", String(web.port));
  await using server = await startTestServer();
  const token = await server.addKey({ mapped: [mapped("app", "app.localhost", withPort(target))] });
  const args = allow.flatMap((rule) => ["--allow", withPort(rule)]);
  await using client = startClientProcess({ token, dataDir: await temporaryDirectory() }, args);
  await client.logged(status === 200 ? "serving" : "online");
  const answer = await server.visit("/");
  expect(answer.status).toBe(status);
  if (status === 200) return;

  // The page says so without addresses, the logs of both sides with them and with the page's request id.
  expect(answer.text).toContain("does not allow");
  expect(answer.text).not.toContain(String(web.port));
  const failed = await client.logged("request failed");
  expect(failed).toMatchObject({ level: "warn", failure: "NOT_ALLOWED", tunnel: "app" });
  expect(failed["detail"]).toContain(`127.0.0.2:${web.port}`);
  expect(failed["detail"]).toContain("--allow");
  const access = server.log.lines.find((line) => line["failure"] === "NOT_ALLOWED");
  expect(access?.["detail"]).toContain(`127.0.0.2:${web.port}`);
  expect(answer.text).toContain(failed["requestId"]);
  expect(JSON.stringify(access)).toContain(failed["requestId"]);
  expect(web.connections()).toBe(0);
});

test("a target typed on the client needs no rule", async () => {
  await using web = await startLocalWeb(saying("served"), "127.0.0.2");
  await using server = await startTestServer();
  const token = await server.addKey();
  const args = ["http", `127.0.0.2:${web.port}`, "--subdomain", "app", "--allow", "none"];
  await using client = startClientProcess({ token, dataDir: await temporaryDirectory() }, args);
  await client.logged("serving");
  expect((await server.visit("/")).text).toBe("served");
});
