import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { createKeyByCommand, startClientProcess, startServerProcess } from "../support/processes.ts";
import { skippedWithout } from "../support/programs.ts";
import { RawBackend } from "../support/raw-backend.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { startNameServer, TEXTS } from "./name-server.ts";
import { outputOf } from "./outside-program.ts";
import { startTlsService } from "./tls-service.ts";

const skipped = skippedWithout("curl", "dig", "dnsmasq", "openssl");

describe.skipIf(skipped !== "")(`one key with tunnels of all four kinds${skipped}`, () => {
  test("is all that the client needs: curl, dig over TCP and UDP, and openssl get what they came for", async () => {
    await using web = await RawBackend.answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nweb");
    await using names = await startNameServer();
    await using site = await startTlsService("secure.tunnel.test");

    const dataDir = await temporaryDirectory();
    const config = join(dataDir, "config.yaml");
    await writeFile(
      config,
      `http: { listen: "127.0.0.1:0", domain: tunnel.test }
grpc: { listen: "127.0.0.1:0" }
tcp: { listen: 127.0.0.1 }
udp: { listen: 127.0.0.1 }
tls: { listen: "127.0.0.1:0" }
`,
    );
    await using server = await startServerProcess(dataDir, ["--config", config]);
    const listening = await server.logged("listening");
    const tlsPort = Number(String(listening["tls"]).split(":").at(-1));
    const dnsPort = await freePort();
    const token = await createKeyByCommand(dataDir, server.grpcPort, [
      "--config",
      config,
      "--tunnel",
      `web=${web.target.host}:${web.target.port}@app`,
      "--tunnel",
      `names=tcp:${names.port}@${dnsPort}`,
      "--tunnel",
      `datagrams=udp:${names.port}@${dnsPort}`,
      "--tunnel",
      `site=tls:${site.port}@secure`,
    ]);
    await using client = startClientProcess({ token, dataDir: await temporaryDirectory(), tls: true }, []);
    await client.logged("serving", 4);
    const served = client.lines.filter(({ message }) => message === "serving").map(({ url }) => String(url));
    expect(served).toEqual([
      `http://app.tunnel.test:${server.httpPort}/`,
      `tcp://tunnel.test:${dnsPort}`,
      `udp://tunnel.test:${dnsPort}`,
      `tls://secure.tunnel.test:${tlsPort}`,
    ]);

    const page = `http://app.tunnel.test:${server.httpPort}/`;
    const resolved = ["--resolve", `app.tunnel.test:${server.httpPort}:127.0.0.1`];
    expect(await outputOf(["curl", "-sS", "--noproxy", "*", ...resolved, page])).toBe("web");

    const dig = ["dig", "@127.0.0.1", "-p", String(dnsPort), "+short", "+tries=1"];
    expect(await outputOf([...dig, "+notcp", "app.test", "A"])).toBe("192.0.2.7\n");
    expect(await outputOf([...dig, "+tcp", "app.test", "AAAA"])).toBe("2001:db8::7\n");
    // Cut short over UDP, so that dig asks again over TCP.
    const texts = await outputOf([...dig, "long.test", "TXT"]);
    expect(
      texts
        .trim()
        .split("\n")
        .filter((line) => line.startsWith('"')),
    ).toHaveLength(TEXTS.length);

    await using visitor = site.visit({ host: "127.0.0.1", port: tlsPort });
    visitor.stdin.write("by its name\n");
    await visitor.printed("eman sti yb");
    visitor.stdin.end("CLOSE\n");
    expect(await visitor.exit()).toBe(0);
  });
});
