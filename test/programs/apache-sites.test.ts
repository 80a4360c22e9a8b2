import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readFileSync } from "node:fs";
import { WebSocket, WebSocketServer } from "ws";
import { loadServerConfig } from "../../server/config/config.ts";
import type { KeyTunnel } from "../../server/access/key.ts";
import { type Authority, makeAuthority, makeCertificate } from "../support/certificates.ts";
import { skippedWithout } from "../support/programs.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";
import { startWorld, type World } from "../support/world.ts";
import { certificateFiles, startApache } from "./apache.ts";

const skipped = skippedWithout("apache2");
const SITES = ["one.office.example.com", "two.office.example.com"];

describe.skipIf(skipped !== "")(`a service with two sites behind https:// (Apache)${skipped}`, () => {
  let directory: AsyncDisposable & { path: string };
  let authority: Authority;
  let webSockets: WebSocketServer;
  let apache: Awaited<ReturnType<typeof startApache>>;
  beforeAll(async () => {
    directory = await lastingDirectory();
    authority = await makeAuthority();
    webSockets = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    webSockets.on("connection", (socket, { headers }) => socket.send(String(headers.host)));
    await once(webSockets, "listening");
    apache = await startApacheWithSites();
  });
  afterAll(async () => {
    await apache?.[Symbol.asyncDispose]();
    webSockets?.close();
    await directory?.[Symbol.asyncDispose]();
  });

  async function startApacheWithSites(): Promise<typeof apache> {
    const { port: webSocketPort } = webSockets.address() as AddressInfo;
    const sites: string[] = [];
    for (const name of SITES) {
      const identity = await makeCertificate({ authority, names: [name] });
      sites.push(`ServerName ${name}
${await certificateFiles(directory.path, name, identity)}
DocumentRoot ${directory.path}/documents/${name}
ProxyPreserveHost On
ProxyPass /socket ws://127.0.0.1:${webSocketPort}/`);
    }
    const started = await startApache({
      directory: directory.path,
      modules: ["ssl", "proxy", "proxy_wstunnel"],
      config: ({ port }) =>
        sites.map((site) => `<VirtualHost 127.0.0.1:${port}>\n${site}\n</VirtualHost>\n`).join(""),
    });
    for (const name of SITES) {
      await mkdir(join(started.documents, name));
      await writeFile(join(started.documents, name, "page"), `the page of ${name}`);
    }
    return started;
  }

  async function visits(world: World): Promise<string[]> {
    const got: string[] = [];
    // In turn, so that a connection of the other site lies idle.
    for (const host of [...SITES, ...SITES]) {
      const { status, text } = await world.visit("/page", { host });
      got.push(status === 200 ? text : String(status));
    }
    return got;
  }

  const BOTH_TWICE = [...SITES, ...SITES].map((name) => `the page of ${name}`);

  /** The tunnel of config.example.yaml, with Apache for its target. */
  async function exampleTunnel(): Promise<KeyTunnel> {
    const example = readFileSync("config.example.yaml", "utf8").replaceAll(
      "https://192.168.1.30:443",
      `https://127.0.0.1:${apache.port}`,
    );
    const file = join(directory.path, "config.yaml");
    await writeFile(file, example);
    for (const name of ["office.key", "machines.key"])
      await writeFile(join(directory.path, name), "s".repeat(22), { mode: 0o600 });
    const { config } = loadServerConfig(file, { HOME_KEY: "h".repeat(22) });
    return config.keys.flatMap(({ tunnels }) => tunnels).find(({ name }) => name === "branches")!;
  }

  function proven(serverName: string, serverNameOfVisitor?: boolean): KeyTunnel {
    return {
      name: "branches",
      kind: "HTTP",
      hostname: "*.office.example.com",
      target: `https://127.0.0.1:${apache.port}`,
      targetTls: {
        insecure: false,
        ca: authority.cert,
        serverName,
        ...(serverNameOfVisitor && { serverNameOfVisitor }),
      },
    };
  }

  test("serves both as config.example.yaml has it, over connections that it keeps", async () => {
    await using world = await startWorld({
      service: apachePlace(),
      configured: [await exampleTunnel()],
    });
    expect(await visits(world)).toEqual(BOTH_TWICE);
  });

  test("serves both where each proves itself by a certificate of its own", async () => {
    await using world = await startWorld({ service: apachePlace(), configured: [proven("", true)] });
    expect(await visits(world)).toEqual(BOTH_TWICE);
    const { status } = await world.visit("/page", { host: "three.office.example.com" });
    expect(status).toBe(502);
    const { detail } = await world.logged("client", "request failed");
    expect(detail).toContain("is not made out to three.office.example.com");
  });

  test("serves one alone where it is asked for by one name", async () => {
    await using world = await startWorld({ service: apachePlace(), configured: [proven(SITES[0]!)] });
    expect(await visits(world)).toEqual([BOTH_TWICE[0], "421", BOTH_TWICE[0], "421"]);
  });

  test("switches protocols for both", async () => {
    await using world = await startWorld({ service: apachePlace(), configured: [proven("", true)] });
    for (const host of SITES) {
      const socket = new WebSocket(`ws://127.0.0.1:${world.httpPort}/socket`, { headers: { Host: host } });
      const [said] = (await once(socket, "message")) as [Buffer];
      expect(said.toString()).toBe(host);
      socket.close();
      await once(socket, "close");
    }
  });

  function apachePlace(): { host: string; port: number } {
    return { host: "127.0.0.1", port: apache.port };
  }
});
