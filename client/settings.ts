import { readFileSync } from "node:fs";
import { z } from "zod";
import { decodeAccessKey } from "../link/access-key.ts";
import type { Target } from "../link/target.ts";
import { readTargetTls } from "../link/target-tls.ts";
import { CommandError, USAGE_EXIT_CODE } from "../runtime/command-error.ts";
import { fileErrorInWords } from "../runtime/file-error.ts";
import { parseServerAddress, type NetAddress } from "../runtime/net-address.ts";
import { readSecretFile } from "../runtime/secret-file.ts";
import { stateDirectory } from "../runtime/state-directory.ts";
import type { ClientOptions, WantedTunnel } from "./client.ts";
import { loadClientConfig, type ClientConfig } from "./config.ts";
import { parseAllowRules } from "./local/consent.ts";
import { targetOptions } from "./target-options.ts";

/** What the command line says. */
export interface ClientFlags {
  key?: string;
  keyFile?: string;
  server?: NetAddress;
  config?: string;
  allow?: string[];
  plaintext?: boolean;
  ca?: string;
  serverName?: string;
  dataDir?: string;
  logFormat?: "json" | "pretty";
  /** Of a tunnel asked for on the command line. */
  target?: Target;
  subdomain?: string;
  hostname?: string;
  name?: string;
  hostHeader?: string;
  timeoutMs?: string;
  insecureTarget?: boolean;
  targetCa?: string;
  targetServerName?: string;
}

export interface ClientSettings {
  settings: Omit<ClientOptions, "clientId" | "log">;
  dataDir: string;
  warnings: string[];
}

/**
 * Puts together what the command line, the environment and client.yaml say, in this order of weight.
 *
 * @throws CommandError, ConfigError, or TunnelError `key_malformed`
 */
export function clientSettings(flags: ClientFlags, env: NodeJS.ProcessEnv): ClientSettings {
  const { config, warnings } = flags.config
    ? loadClientConfig(flags.config, env)
    : { config: undefined, warnings: [] as string[] };
  const key = decodeAccessKey(keyText(flags, env, config, warnings));
  const server = flags.server ?? serverFromEnvironment(env) ?? config?.server;
  const ca = flags.ca ?? config?.ca;
  return {
    settings: {
      server: {
        key,
        host: server?.host,
        port: server?.port,
        plaintext: flags.plaintext ?? config?.plaintext,
        ca: ca === undefined ? undefined : readCa(ca),
        serverName: flags.serverName ?? config?.serverName,
      },
      tunnels: wantedTunnels(flags, config),
      consent: consentOf([...(config?.allow ?? []), ...(flags.allow ?? [])]),
    },
    dataDir: stateDirectory(flags.dataDir ?? config?.dataDir, env),
    warnings,
  };
}

function keyText(
  flags: ClientFlags,
  env: NodeJS.ProcessEnv,
  config: ClientConfig | undefined,
  warnings: string[],
): string {
  if (flags.key !== undefined && flags.keyFile !== undefined) {
    throw usage("there is one key: pass --key or --key-file, not both");
  }
  if (flags.key !== undefined) return flags.key;
  if (flags.keyFile !== undefined) {
    const read = readSecretFile(flags.keyFile);
    if (typeof read === "string") throw usage(`--key-file ${flags.keyFile}: ${read}`);
    if (read.worldReadable)
      warnings.push(`every user of this machine can read ${flags.keyFile}; chmod 600 it`);
    return read.secret;
  }
  const key = env["TUNNEL_KEY"] || config?.key;
  if (key) return key;
  throw usage(
    "an access key is needed: pass --key KEY, --key-file FILE or set TUNNEL_KEY. " +
      "On the server, tunnel-server key create --name NAME makes one.",
  );
}

function serverFromEnvironment(env: NodeJS.ProcessEnv): NetAddress | undefined {
  const text = env["TUNNEL_SERVER"];
  if (!text) return undefined;
  const parsed = parseServerAddress(text);
  if (typeof parsed === "string") throw usage(`TUNNEL_SERVER: ${parsed}`);
  return parsed;
}

function readCa(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw usage(`--ca ${file}: expected a file that can be read (${fileErrorInWords(error)})`);
  }
}

function wantedTunnels(flags: ClientFlags, config: ClientConfig | undefined): WantedTunnel[] {
  if (flags.target) return [typedTunnel(flags, flags.target)];
  return config?.tunnels ?? [];
}

function typedTunnel(flags: ClientFlags, target: Target): WantedTunnel {
  const { subdomain, hostname, name } = flags;
  if (subdomain !== undefined && hostname !== undefined) {
    throw usage("a tunnel has one address: pass --subdomain or --hostname, not both");
  }
  const { data: options, error } = typedOptions.safeParse({
    host_header: flags.hostHeader,
    timeout_ms: flags.timeoutMs,
    insecure_target: flags.insecureTarget,
    target_ca: flags.targetCa,
    target_server_name: flags.targetServerName,
  });
  if (error)
    throw usage(error.issues.map(({ path, message }) => `${flagOf(path[0])}: ${message}`).join("\n"));
  const { targetTls, problems } = readTargetTls(target, options, ".");
  if (problems.length > 0)
    throw usage(problems.map(({ option, message }) => `${flagOf(option)}: ${message}`).join("\n"));
  const { host_header: hostHeader, timeout_ms: timeoutMs } = options;
  return { kind: "HTTP", target, subdomain, hostname, name, targetTls, hostHeader, timeoutMs };
}

const typedOptions = z.strictObject(targetOptions);

/** As the command line spells an option of client.yaml. */
function flagOf(option: PropertyKey | undefined): string {
  return `--${String(option).replaceAll("_", "-")}`;
}

function consentOf(rules: string[]) {
  try {
    return parseAllowRules(rules);
  } catch (error) {
    throw usage((error as Error).message);
  }
}

function usage(message: string): CommandError {
  return new CommandError(USAGE_EXIT_CODE, message);
}
