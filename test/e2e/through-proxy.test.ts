import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { OutsideProgram, outputOf } from "../programs/outside-program.ts";
import { namespaceObstacle, Namespaces } from "../support/namespaces.ts";
import { mountObstacle, withMounts } from "../support/private-mounts.ts";
import { CLIENT, createKeyByCommand, SERVER, startProgram } from "../support/processes.ts";
import { hasProgram } from "../support/programs.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";

const obstacle =
  namespaceObstacle() ??
  mountObstacle() ??
  (hasProgram("tinyproxy") && hasProgram("curl") ? undefined : "no tinyproxy or curl");
const why = obstacle === undefined ? "" : ` (cannot be tried here: ${obstacle})`;

const CLIENT_ADDRESS = "10.78.1.2";
const PROXY = { inside: "10.78.1.1", outside: "10.78.2.1", port: 3128 };
const SERVER_ADDRESS = "10.78.2.2";
const SERVER_NAME = "tunnel.example.com";
const [HTTP_PORT, GRPC_PORT] = [8080, 7000];

/**
 * Three machines in a row, the client's, a proxy's, the server's. Packets do not pass the one in the middle, and it alone knows the
 * server's name. The client's has a web service.
 */
async function office(options: { tls: "auto" | "off"; signIn?: string }) {
  const opened: AsyncDisposable[] = [];
  const use = <T extends AsyncDisposable>(disposable: T): T => {
    opened.unshift(disposable);
    return disposable;
  };
  const directory = use(await lastingDirectory());
  const file = (name: string): string => join(directory.path, name);
  const namespaces = use(new Namespaces());
  const [inside, middle, outside] = [
    await namespaces.add("inside"),
    await namespaces.add("middle"),
    await namespaces.add("outside"),
  ];
  await namespaces.join([inside, CLIENT_ADDRESS], [middle, PROXY.inside]);
  await namespaces.join([middle, PROXY.outside], [outside, SERVER_ADDRESS]);

  await writeFile(file("hosts"), `127.0.0.1 localhost\n${SERVER_ADDRESS} ${SERVER_NAME}\n`);
  await writeFile(
    file("tinyproxy.conf"),
    [
      `Listen ${PROXY.inside}`,
      `Port ${PROXY.port}`,
      options.signIn && `BasicAuth ${options.signIn}`,
      "",
    ].join("\n"),
  );
  await writeFile(
    file("server.yaml"),
    `http: { listen: "${SERVER_ADDRESS}:${HTTP_PORT}" }\n` +
      `grpc: { listen: "${SERVER_ADDRESS}:${GRPC_PORT}", tls: ${options.tls} }\n`,
  );
  const config = ["--config", file("server.yaml")];
  const server = use(
    startProgram(SERVER, [...config, "--data-dir", file("server")], { through: within(outside) }),
  );
  await server.logged("listening");
  const token = await createKeyByCommand(file("server"), GRPC_PORT, [
    ...config,
    "--public-address",
    `${SERVER_NAME}:${GRPC_PORT}`,
  ]);
  const web = use(
    new OutsideProgram([
      ...within(inside),
      process.execPath,
      "-e",
      'http.createServer((_, s) => s.end("served")).listen(3000, "127.0.0.1", () => console.log("up"))',
    ]),
  );
  await web.printed("up");
  return {
    token,
    file,
    async startProxy(): Promise<OutsideProgram> {
      const proxy = new OutsideProgram([
        ...within(middle),
        ...withMounts(`mount --bind ${file("hosts")} /etc/hosts`),
        "tinyproxy",
        "-d",
        "-c",
        file("tinyproxy.conf"),
      ]);
      await proxy.printed("Accepting connections");
      return proxy;
    },
    startClient: (env: NodeJS.ProcessEnv, args: string[] = []) =>
      startProgram(CLIENT, ["http", "3000", "--subdomain", "app", "--data-dir", file("client"), ...args], {
        through: within(inside),
        env: { TUNNEL_KEY: token, ...env },
      }),
    visit: () =>
      outputOf([
        ...within(outside),
        "curl",
        "-sS",
        "-H",
        "Host: app.localhost",
        `http://${SERVER_ADDRESS}:${HTTP_PORT}/`,
      ]),
    async [Symbol.asyncDispose]() {
      for (const each of opened) await each[Symbol.asyncDispose]();
    },
  };
}

function within(namespace: string): string[] {
  return ["ip", "netns", "exec", namespace];
}

test.skipIf(obstacle !== undefined)(
  `a client that reaches nothing but a proxy serves through it, with a sign-in, and again once the proxy is back${why}`,
  { timeout: 60_000 },
  async () => {
    const password = randomBytes(12).toString("hex");
    await using place = await office({ tls: "auto", signIn: `clerk ${password}` });
    const first = await place.startProxy();

    await using without = place.startClient({});
    expect(await without.logged("offline; trying again")).toMatchObject({
      reason: expect.stringContaining(`the address of ${SERVER_NAME} cannot be found`) as unknown,
    });
    await without[Symbol.asyncDispose]();

    await using client = place.startClient({
      HTTPS_PROXY: `http://clerk:${password}@${PROXY.inside}:${PROXY.port}`,
    });
    expect(await client.logged("online")).toMatchObject({
      server: `${SERVER_NAME}:${GRPC_PORT}`,
      proxy: `${PROXY.inside}:${PROXY.port}`,
    });
    expect(await place.visit()).toBe("served");
    expect(first.stdout + first.stderr).toContain(`CONNECT ${SERVER_NAME}:${GRPC_PORT} HTTP/1.1`);

    await first[Symbol.asyncDispose]();
    expect(await client.logged("offline; trying again", 2)).toMatchObject({
      reason: expect.stringContaining(
        `the proxy ${PROXY.inside}:${PROXY.port} (from HTTPS_PROXY) refuses the connection`,
      ) as unknown,
    });
    await using _second = await place.startProxy();
    await client.logged("online", 2);
    expect(await place.visit()).toBe("served");
    expect(client.output()).not.toContain(password);
  },
);

test.skipIf(obstacle !== undefined)(
  `a proxy that wants a sign-in is named with what to do, until client.yaml has one; without TLS it goes through it too${why}`,
  { timeout: 60_000 },
  async () => {
    const password = randomBytes(12).toString("hex");
    await using place = await office({ tls: "off", signIn: `clerk ${password}` });
    await using _proxy = await place.startProxy();
    const url = (credentials: string): string => `http://${credentials}${PROXY.inside}:${PROXY.port}`;

    await using unsigned = place.startClient({ ALL_PROXY: url("") }, ["--plaintext"]);
    expect(await unsigned.logged("offline; trying again")).toMatchObject({
      reason: `the proxy ${PROXY.inside}:${PROXY.port} (from ALL_PROXY) asks for a sign-in (407): put user:password in its URL, as in http://USER:PASSWORD@HOST:PORT`,
    });
    await unsigned[Symbol.asyncDispose]();

    await using mistaken = place.startClient({}, ["--plaintext", "--proxy", url(`clerk:not-${password}@`)]);
    expect(await mistaken.logged("offline; trying again")).toMatchObject({
      reason: `the proxy ${PROXY.inside}:${PROXY.port} (from --proxy) refuses the user and password in its URL (401)`,
    });
    expect(mistaken.output()).not.toContain(password);
    await mistaken[Symbol.asyncDispose]();

    await writeFile(place.file("client.yaml"), `plaintext: true\nproxy: "${url(`clerk:${password}@`)}"\n`, {
      mode: 0o600,
    });
    await using client = place.startClient({ HTTPS_PROXY: "http://192.0.2.1" }, [
      "--config",
      place.file("client.yaml"),
    ]);
    await client.logged("online");
    expect(await place.visit()).toBe("served");
  },
);
