import { once } from "node:events";
import { createServer as createPlainServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import type { WantedTunnel } from "../../client/wanted-tunnel.ts";
import { encodeAccessKey } from "../../link/access-key.ts";
import { parseTarget, type Target } from "../../link/target.ts";
import { configKeyId, configKeySecret } from "../../server/access/config-key.ts";
import { loadServerConfig } from "../../server/config/config.ts";
import { type Authority, type Identity, makeAuthority, makeCertificate } from "../support/certificates.ts";
import { startClientProcess } from "../support/processes.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { mapped, startTestClient, startTestServer, type TestServer } from "../support/tunnel-ends.ts";

let authority: Authority;
let good: Identity;

beforeAll(async () => {
  authority = await makeAuthority();
  good = await makeCertificate({ authority, ips: ["127.0.0.1"], names: ["app.test"] });
});

interface Service extends AsyncDisposable {
  port: number;
  connections: () => number;
  /** Connections that brought a request. */
  used: () => number;
}

/** Says what it got, and speaks WebSocket; over TLS, or at a UNIX socket. */
async function startService(where: Identity | string): Promise<Service> {
  const server: Server = typeof where === "string" ? createPlainServer() : createTlsServer(where);
  const used = new Set<Socket>();
  server.on("request", (request, response) => {
    used.add(request.socket);
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => response.end(`${request.method} for ${request.headers.host}: ${body}`));
  });
  const webSockets = new WebSocketServer({ server });
  webSockets.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
  let connections = 0;
  server.on(typeof where === "string" ? "connection" : "secureConnection", () => connections++);
  if (typeof where === "string") server.listen(where);
  else server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: typeof where === "string" ? 0 : (server.address() as AddressInfo).port,
    connections: () => connections,
    used: () => used.size,
    async [Symbol.asyncDispose]() {
      for (const socket of webSockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** A tunnel that the client asks for. */
function wanted(target: string, options: Partial<WantedTunnel> = {}): WantedTunnel {
  return { kind: "HTTP", subdomain: "app", target: parseTarget(target) as Target, ...options };
}

/** The access key that stands for a key of the config. */
function configToken(server: TestServer, name: string, secret: string): string {
  return encodeAccessKey({
    keyId: configKeyId(name),
    secret: configKeySecret(secret),
    host: "127.0.0.1",
    port: server.grpcPort,
  });
}

/** What a few visitors get of a service. */
async function visits(server: TestServer, service: Service): Promise<unknown> {
  const gets: string[] = [];
  for (let i = 0; i < 3; i++) gets.push((await server.visit("/")).text);
  const used = service.used();
  const upload = await server.visit("/", { method: "POST", body: UPLOAD });

  const near = new WebSocket(`ws://127.0.0.1:${server.httpPort}/`, { headers: { Host: "app.localhost" } });
  await once(near, "open");
  near.send("hello");
  const [echo] = (await once(near, "message")) as [Buffer];
  near.close(4321);
  const [code] = (await once(near, "close")) as [number];
  return { gets, used, upload: upload.text, echo: echo.toString(), code };
}

const UPLOAD = "b\u00f6dy".repeat(100_000);
const ALL_WELL = {
  gets: Array(3).fill("GET for app.localhost: "),
  used: 1,
  upload: `POST for app.localhost: ${UPLOAD}`,
  echo: "hello",
  code: 4321,
};

/** How a visit fails: what the visitor gets, and what the logs of client and server say. */
async function failedVisit(
  server: TestServer,
  client: ReturnType<typeof startTestClient>,
): Promise<Record<string, unknown>> {
  const { status, text: page } = await server.visit("/");
  const { failure, detail: said } = await client.log.logged("request failed");
  const told = server.log.lines.findLast((line) => line["failure"] === failure)?.["detail"];
  return { status, page, failure, said, told };
}

/** The page names nothing of the inside, and both logs say why. */
function refused(failure: string, why: string): unknown {
  return {
    status: 502,
    page: expect.not.stringMatching(/127\.0\.0\.1|certificate|unix:/) as unknown,
    failure,
    said: expect.stringContaining(why) as unknown,
    told: expect.stringContaining(why) as unknown,
  };
}

describe("https://", () => {
  test("a target whose certificate is good is served whole", async () => {
    await using service = await startService(good);
    await using server = await startTestServer();
    const targetTls = { insecure: false, ca: authority.cert, serverName: "" };
    await using client = startTestClient(await server.addKey(), {
      tunnels: [wanted(`https://127.0.0.1:${service.port}`, { targetTls })],
      allow: ["none"],
    });
    await client.online();
    expect(await visits(server, service)).toEqual(ALL_WELL);
  });

  test.each<[string, Parameters<typeof makeCertificate>[0], string]>([
    ["has expired", { ips: ["127.0.0.1"], fromDays: -3, toDays: -1 }, "its certificate has expired"],
    ["is for another name", { ips: ["127.0.0.9"] }, "its certificate is not made out to 127.0.0.1"],
  ])("a target whose certificate %s is refused, and taken as insecure", async (_, made, words) => {
    const detail = `is not trusted: ${words}`;
    await using service = await startService(await makeCertificate({ authority, ...made }));
    await using server = await startTestServer();
    const target = `https://127.0.0.1:${service.port}`;
    const token = await server.addKey();
    {
      const targetTls = { insecure: false, ca: authority.cert, serverName: "" };
      await using client = startTestClient(token, { tunnels: [wanted(target, { targetTls })] });
      await client.online();
      expect(await failedVisit(server, client)).toEqual(refused("UNREACHABLE", detail));
    }
    const targetTls = { insecure: true, ca: "", serverName: "" };
    await using client = startTestClient(token, { tunnels: [wanted(target, { targetTls })] });
    await client.online();
    expect((await server.visit("/")).status).toBe(200);
  });

  test("a target that the server maps without a word is trusted by known authorities alone", async () => {
    await using service = await startService(good);
    await using server = await startTestServer();
    const target = `https://127.0.0.1:${service.port}`;
    const token = await server.addKey({ mapped: [mapped("app", "app.localhost", target)] });
    await using client = startTestClient(token);
    await client.online();
    expect(await failedVisit(server, client)).toEqual(
      refused(
        "UNREACHABLE",
        "no known authority has signed its certificate (--target-ca names another); --insecure-target",
      ),
    );
  });

  test.each<[string, string, number]>([
    ["whom to trust, and for which name", "target_ca: ca.pem, target_server_name: app.test", 200],
    ["another name", "target_ca: ca.pem, target_server_name: other.test", 502],
    ["the visitor's name", "target_ca: ca.pem, target_server_name: visitor", 502],
    [
      "the visitor's name, as host_header has it",
      "target_ca: ca.pem, target_server_name: visitor, host_header: app.test",
      200,
    ],
    ["to take any certificate", "insecure_target: true", 200],
    ["nothing of certificates", "host_header: target", 502],
  ])("the server's config says %s", async (_, options, status) => {
    await using service = await startService(good);
    const directory = await temporaryDirectory();
    const secret = "s".repeat(22);
    const target = `https://127.0.0.1:${service.port}`;
    await writeFile(join(directory, "ca.pem"), authority.cert);
    await writeFile(
      join(directory, "config.yaml"),
      `keys: [{ name: home, secret: ${secret}, tunnels: [{ name: app, type: http, target: "${target}", ${options} }] }]`,
    );
    const { keys } = loadServerConfig(join(directory, "config.yaml"), {}).config;
    await using server = await startTestServer({ config: (config) => void (config.keys = keys) });
    await using client = startTestClient(configToken(server, "home", secret));
    await client.online();
    expect((await server.visit("/")).status).toBe(status);
  });

  test.each([
    ["authorities", { insecure: false, ca: "nobody", serverName: "" }],
    ["a name", { insecure: false, ca: "", serverName: "a b" }],
  ])("%s that the server sends and nobody can read cost one tunnel alone", async (_, targetTls) => {
    await using service = await startService(good);
    const target = `https://127.0.0.1:${service.port}`;
    const secret = "s".repeat(22);
    const app = { ...mapped("app", "app.localhost", target), targetTls };
    const other = {
      ...mapped("other", "other.localhost", target),
      targetTls: { insecure: true, ca: "", serverName: "" },
    };
    await using server = await startTestServer({
      config: (config) =>
        void (config.keys = [{ name: "home", secret, hostnames: [], tunnels: [app, other] }]),
    });
    await using client = startTestClient(configToken(server, "home", secret));
    await client.online();
    expect((await server.visit("/")).status).toBe(502);
    expect((await server.visit("/", { host: "other.localhost" })).status).toBe(200);
    const odd = client.log.lines.find(({ message }) => message.startsWith("the server names an odd target"));
    expect(odd).toMatchObject({ level: "warn", tunnel: "app", target });
  });

  test("TLS and plain HTTP are not taken for each other", async () => {
    await using service = await startService(good);
    await using server = await startTestServer();
    const token = await server.addKey();
    await using client = startTestClient(token, { tunnels: [wanted(`127.0.0.1:${service.port}`)] });
    await client.online();
    expect(await failedVisit(server, client)).toEqual(
      refused("CONNECTION_LOST", `if it speaks TLS, its target is https://127.0.0.1:${service.port}`),
    );
    const own = `https://127.0.0.1:${server.httpPort}`;
    await using other = startTestClient(token, { tunnels: [wanted(own)], clientId: "other" });
    await other.online();
    expect(await failedVisit(server, other)).toEqual(refused("BAD_RESPONSE", `${own} does not speak TLS`));
  });
});

describe("unix:", () => {
  test("a socket that the client's user typed is served whole", async () => {
    const path = join(await temporaryDirectory(), "app.sock");
    await using service = await startService(path);
    await using server = await startTestServer();
    await using client = startTestClient(await server.addKey(), {
      tunnels: [wanted(`unix:${path}`)],
      allow: ["none"],
    });
    await client.online();
    expect(await visits(server, service)).toEqual(ALL_WELL);
  });

  test("a socket that the server names is served where the client's owner allows it", async () => {
    const directory = await temporaryDirectory();
    const path = join(directory, "app.sock");
    await using service = await startService(path);
    await using server = await startTestServer();
    const token = await server.addKey({ mapped: [mapped("app", "app.localhost", `unix:${path}`)] });
    for (const allow of [`unix:${path}`, `unix:${directory}/`]) {
      await using client = startTestClient(token, { allow: [allow] });
      await client.online();
      expect((await server.visit("/")).status).toBe(200);
    }
    for (const allow of [[], ["any"], [`unix:${path}/`]]) {
      const reached = service.connections();
      await using client = startTestClient(token, { allow });
      await client.online();
      expect(await failedVisit(server, client)).toEqual(
        refused("NOT_ALLOWED", `unix:${path}; only --allow unix:PATH lets a server name a socket`),
      );
      expect(service.connections()).toBe(reached);
    }
  });

  test("a socket that is not there is said to be missing, and served as soon as it is", async () => {
    const path = join(await temporaryDirectory(), "app.sock");
    await using server = await startTestServer();
    await using client = startTestClient(await server.addKey(), { tunnels: [wanted(`unix:${path}`)] });
    await client.online();
    expect(await failedVisit(server, client)).toEqual(refused("REFUSED", `unix:${path} does not exist`));
    await using _service = await startService(path);
    expect((await server.visit("/")).status).toBe(200);
  });
});

test("tunnel-client takes a target of each kind, and what goes for it", async () => {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "ca.pem"), authority.cert);
  await using service = await startService(good);
  await using local = await startService(join(directory, "app.sock"));
  await using server = await startTestServer();
  const token = await server.addKey();
  const answerOf = async (...args: string[]): Promise<string> => {
    const dataDir = await temporaryDirectory();
    await using client = startClientProcess({ token, dataDir }, ["http", ...args, "--subdomain", "app"]);
    await client.logged("serving");
    return (await server.visit("/")).text;
  };
  const secure = `https://127.0.0.1:${service.port}`;
  expect(await answerOf(secure, "--insecure-target", "--host-header", "target")).toContain(
    `GET for 127.0.0.1:${service.port}`,
  );
  const checked = ["--target-ca", join(directory, "ca.pem"), "--target-server-name", "app.test"];
  expect(await answerOf(secure, ...checked)).toContain("GET for app.localhost");
  expect(await answerOf(`unix:${directory}/app.sock`, "--host-header", "other.test")).toContain(
    "GET for other.test",
  );
  expect(local.used()).toBe(1);
});
