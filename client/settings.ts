import { readFileSync } from "node:fs";
import { decodeAccessKey } from "../link/access-key.ts";
import { usageError } from "../runtime/command-error.ts";
import { fileErrorInWords } from "../runtime/file-error.ts";
import { parseServerAddress, type NetAddress } from "../runtime/net-address.ts";
import { looksLikeSecret, readSecretFile } from "../runtime/secret-file.ts";
import { stateDirectory } from "../runtime/state-directory.ts";
import type { ClientOptions } from "./client.ts";
import type { WantedTunnel } from "./wanted-tunnel.ts";
import { loadClientConfig, type ClientConfig } from "./config.ts";
import { type Consent, parseAllowRules } from "./local/consent.ts";
import { chooseProxy } from "./proxy-choice.ts";
import { typedTunnel, type TunnelFlags, type TypedTarget } from "./typed-tunnel.ts";

/** What the command line says. */
export interface ClientFlags extends TunnelFlags {
  key?: string;
  keyFile?: string;
  server?: NetAddress;
  config?: string;
  allow?: string[];
  plaintext?: boolean;
  ca?: string;
  serverName?: string;
  /** A URL, which may hold a password, or `none`. */
  proxy?: string;
  dataDir?: string;
  logFormat?: "json" | "pretty";
  /** A tunnel asked for on the command line. */
  typed?: TypedTarget;
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
  const plaintext = flags.plaintext ?? config?.plaintext;
  if (plaintext && key.pin) {
    throw usageError(
      `${flags.plaintext ? "--plaintext" : "plaintext in the config"}: the access key carries the pin of the server's ` +
        "certificate, so its server speaks TLS: leave this out, or make a new key on a server with grpc.tls: off",
    );
  }
  const way = chooseProxy({ server: server ?? key, flag: flags.proxy, config: config?.proxy, env });
  const tunnels = [...(config?.tunnels ?? []), ...(flags.typed ? [typedTunnel(flags.typed, flags)] : [])];
  return {
    settings: {
      server: {
        key,
        host: server?.host,
        port: server?.port,
        plaintext,
        ca: ca === undefined ? undefined : readCa(ca),
        serverName: flags.serverName ?? config?.serverName,
        proxy: way.proxy,
      },
      tunnels,
      consent: consentOf([...(config?.allow ?? []), ...(flags.allow ?? [])], tunnels),
    },
    dataDir: stateDirectory(flags.dataDir ?? config?.dataDir, env),
    warnings: [...warnings, ...way.warnings],
  };
}

function keyText(
  flags: ClientFlags,
  env: NodeJS.ProcessEnv,
  config: ClientConfig | undefined,
  warnings: string[],
): string {
  if (flags.key !== undefined && flags.keyFile !== undefined) {
    throw usageError("there is one key: pass --key or --key-file, not both");
  }
  if (flags.key !== undefined) return flags.key;
  if (flags.keyFile !== undefined) {
    const read = readSecretFile(flags.keyFile);
    if (typeof read === "string") {
      const shown = looksLikeSecret(flags.keyFile) ? "******" : flags.keyFile;
      throw usageError(`--key-file ${shown}: ${read}`);
    }
    if (read.worldReadable)
      warnings.push(`every user of this machine can read ${flags.keyFile}; chmod 600 it`);
    return read.secret;
  }
  const key = env["TUNNEL_KEY"] || config?.key;
  if (key) return key;
  throw usageError(
    "an access key is needed: pass --key KEY, --key-file FILE or set TUNNEL_KEY. " +
      "On the server, tunnel-server key create --name NAME makes one.",
  );
}

function serverFromEnvironment(env: NodeJS.ProcessEnv): NetAddress | undefined {
  const text = env["TUNNEL_SERVER"];
  if (!text) return undefined;
  const parsed = parseServerAddress(text);
  if (typeof parsed === "string") throw usageError(`TUNNEL_SERVER: ${parsed}`);
  return parsed;
}

function readCa(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw usageError(`--ca ${file}: expected a file that can be read (${fileErrorInWords(error)})`);
  }
}

/** Who asks for tunnels of their own means only these: loopback is for a client whose tunnels are all the server's. */
function consentOf(rules: string[], tunnels: WantedTunnel[]): Consent {
  try {
    return parseAllowRules(rules, { loopback: tunnels.length === 0 });
  } catch (error) {
    throw usageError((error as Error).message);
  }
}
