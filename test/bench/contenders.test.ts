import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { once } from "node:events";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { StartOptions } from "../../bench/contender.ts";
import { bore } from "../../bench/contenders/bore.ts";
import { frp, frpcConfig, frpHttp, frpsConfig } from "../../bench/contenders/frp.ts";
import { gost, gostClientArguments, gostServerArguments } from "../../bench/contenders/gost.ts";
import { freeLoopbackAddress } from "../../bench/free-port.ts";
import { NO_DISTANCE } from "../../bench/road/road.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

afterEach(() => vi.unstubAllEnvs());

const bind = { host: "127.0.0.1", port: 7000 };
const entrance = { host: "127.0.0.1", port: 8080, hostname: "bench.localhost" };
const server = { host: "10.99.1.1", port: 7001 };

describe("frp", () => {
  test("carries a port over one connection with TLS, and five streams opened ahead", () => {
    expect(frpsConfig({ bind, proxy: "tcp", entrance })).toBe(`bindAddr = "127.0.0.1"
bindPort = 7000
proxyBindAddr = "127.0.0.1"
`);
    expect(frpcConfig({ server, tls: true, proxy: "tcp", entrance, localPort: 5000 }))
      .toBe(`serverAddr = "10.99.1.1"
serverPort = 7001
transport.tls.enable = true
transport.tcpMux = true
transport.poolCount = 5
[[proxies]]
name = "bench"
type = "tcp"
localIP = "127.0.0.1"
localPort = 5000
remotePort = 8080
`);
  });

  test("carries HTTP by its Host, over the same connection", () => {
    expect(frpsConfig({ bind, proxy: "http", entrance })).toBe(`bindAddr = "127.0.0.1"
bindPort = 7000
proxyBindAddr = "127.0.0.1"
vhostHTTPPort = 8080
`);
    expect(frpcConfig({ server, tls: true, proxy: "http", entrance, localPort: 5000 }))
      .toBe(`serverAddr = "10.99.1.1"
serverPort = 7001
transport.tls.enable = true
transport.tcpMux = true
transport.poolCount = 5
[[proxies]]
name = "bench"
type = "http"
localIP = "127.0.0.1"
localPort = 5000
customDomains = ["bench.localhost"]
`);
  });

  test("goes without TLS where that is asked for", () => {
    const config = frpcConfig({ server, tls: false, proxy: "tcp", entrance, localPort: 5000 });
    expect(config).toContain("transport.tls.enable = false\n");
  });
});

test("gost binds a port of its relay's, over TLS", () => {
  expect(gostServerArguments(bind)).toEqual(["-L", "relay+tls://127.0.0.1:7000?bind=true"]);
  const target = { host: "127.0.0.1", port: 5000 };
  expect(gostClientArguments({ server, entrance, target })).toEqual([
    "-L",
    "rtcp://127.0.0.1:8080/127.0.0.1:5000",
    "-F",
    "relay+tls://10.99.1.1:7001",
  ]);
});

describe("a peer's program", () => {
  test("that the variable names and that is not there is told when it is to start", async () => {
    vi.stubEnv("FRPS", "/nowhere/frps");
    vi.stubEnv("FRPC", "/nowhere/frpc");
    expect(await frpHttp.obstacle!({ print: () => {} })).toBeUndefined();
    await expect(frpHttp.start(await startOptions())).rejects.toThrow(
      "frps cannot be run: spawn /nowhere/frps ENOENT",
    );
  });

  test("that ends at once is told with its last words, without colours", async () => {
    vi.stubEnv("GOST", await script(`printf '\\033[31mtoo hot\\033[0m\\n' >&2; exit 3`));
    await expect(gost.start(await startOptions())).rejects.toThrow(
      /^gost's server ended with exit code 3: too hot$/,
    );
  });

  test("that nobody has keeps its contenders out, with what to do", async () => {
    for (const name of ["FRPS", "FRPC", "PATH"]) vi.stubEnv(name, "");
    expect(await frp.obstacle!({ print: () => {} })).toBe("no frps, frpc on PATH or named by FRPS, FRPC");
  });
});

test("each bore listens on an address of its own, since its port is the same", async () => {
  vi.stubEnv("BORE", await script(`echo "$@"; echo server listening; exec sleep 60`));
  const [one, other] = [await startOptions(), await startOptions()];
  await using _first = await bore.start(one);
  await using _second = await bore.start(other);
  const [addressOfOne, addressOfOther] = [one, other].map(({ directory }) => {
    const address = / --bind-addr (\S+)/.exec(logOf(directory, "server"))![1]!;
    expect(address).toMatch(/^127\.\d+\.\d+\.\d+$/);
    return address;
  });
  expect(addressOfOne).not.toBe(addressOfOther);
  await vi.waitFor(() => expect(logOf(one.directory, "client")).toContain(` --to ${addressOfOne} `));
});

test("a port that something has at all addresses is said to be taken", async () => {
  const everywhere = createServer().listen(0, "0.0.0.0");
  await once(everywhere, "listening");
  const { port } = everywhere.address() as AddressInfo;
  await expect(freeLoopbackAddress(port)).rejects.toThrow(`port ${port} is taken at all loopback addresses`);
  everywhere.close();
  await once(everywhere, "close");
  await expect(freeLoopbackAddress(port)).resolves.toMatch(/^127\./);
});

async function startOptions(): Promise<StartOptions> {
  const backend = { port: 9, file: "", async [Symbol.asyncDispose]() {} };
  const { signal } = new AbortController();
  return { backend, road: NO_DISTANCE, directory: await temporaryDirectory(), signal };
}

/** In place of a peer. */
async function script(commands: string): Promise<string> {
  const file = join(await temporaryDirectory(), "peer");
  writeFileSync(file, `#!/bin/sh\n${commands}\n`);
  chmodSync(file, 0o755);
  return file;
}

function logOf(directory: string, end: "server" | "client"): string {
  return readFileSync(join(directory, `${end}.log`), "utf8");
}
