import { isIP } from "node:net";
import path from "node:path";
import { z } from "zod";
import type { PortRange } from "../../link/port-range.ts";
import { isAddressRange } from "../../runtime/address-ranges.ts";
import { ConfigError } from "../../runtime/config-error.ts";
import { readConfigFile } from "../../runtime/config-file.ts";
import { addressOption, option } from "../../runtime/config-option.ts";
import {
  parseListenAddress,
  parseServerAddress,
  type ListenAddress,
  type NetAddress,
} from "../../runtime/net-address.ts";
import { quoted } from "../../runtime/printable.ts";
import { stateDirectory } from "../../runtime/state-directory.ts";
import type { KeyTunnel } from "../access/key.ts";
import { checkServerOptions, type ConfigFiles } from "./config-check.ts";
import { keyOptions, keyTunnel } from "./config-keys.ts";
import { readPortRange } from "./config-tunnels.ts";
import { durationMs, limitOptions, type Limits, optionalDurationMs } from "./limits.ts";
import { normalizeHostname, splitHostPort } from "../routing/hostname.ts";

/** What a server runs with; every path is absolute. */
export interface ServerConfig {
  http: {
    listen: ListenAddress;
    /** Subdomains live under it. */
    domain: string;
    /** What visitors reach from outside, where something else stands in front. */
    publicUrl?: PublicUrl;
    /** Whose X-Forwarded-* are believed: addresses and ranges. */
    trustedProxies: string[];
    /** How long a request waits for a client that is reconnecting. */
    holdMs: number;
    /** How long an answer's head may take, where the tunnel says nothing else. */
    timeoutMs: number;
  };
  grpc: {
    listen: ListenAddress;
    /** What goes into access keys. */
    publicAddress?: NetAddress;
    /** `auto` is a certificate made at first start; files are PEM. */
    tls: "auto" | "off" | { cert: string; key: string };
  };
  /** Visitors of TCP ports. */
  tcp: {
    /** Where to listen; on all addresses if left out. */
    host?: string;
    /** Those that every key may ask for. */
    ports?: PortRange;
    /** Who says by a PROXY header who visits: addresses and ranges. */
    trustedProxies: string[];
  };
  /** Visitors of UDP ports. */
  udp: { host?: string; ports?: PortRange };
  /** Visitors over TLS, by hostname; left out: none. */
  tls?: { listen: ListenAddress; trustedProxies: string[] };
  dataDir: string;
  limits: Limits;
  keys: ConfiguredKey[];
}

/** Scheme, and port if it is not the scheme's usual one, of the addresses that are told to people. */
export interface PublicUrl {
  scheme: "http" | "https";
  port?: number;
}

export interface ConfiguredKey {
  name: string;
  secret: string;
  /** Public names; those of the key's tunnels too, since who writes the mapping grants them. */
  hostnames: string[];
  /** Public ports that it may ask for, beside those that any key may. */
  ports?: PortRange[];
  tunnels: KeyTunnel[];
}

/** What the command line says against the file. */
export interface ServerOverrides {
  dataDir?: string | undefined;
  publicAddress?: string | undefined;
}

export interface LoadedServerConfig {
  config: ServerConfig;
  /** What works, and should be different. */
  warnings: string[];
}

/** Above the ports of well-known services, and below those that systems use for connections of their own (ip_local_port_range). */
const FREE_PORTS = "20000-29999";

const MASKED = { secrets: ["secret"], secretFiles: ["secret_file", "key"] };

const file = option("expected the path of a file", (text) => text || undefined);
const trustedProxies = z
  .array(
    option("expected an address or range such as 10.0.0.0/8 or fd00::/8", (text) =>
      isAddressRange(text) ? text : undefined,
    ),
  )
  .default([]);

/** Of the sections whose ports tunnels choose. */
const portOptions = {
  listen: option("expected an IP address such as 203.0.113.7 or ::1, without a port", (text) =>
    text === "" || isIP(text) > 0 ? text : undefined,
  ).optional(),
  ports: option("expected ports such as 20000-29999, or none", (text) =>
    text === "none" || readPortRange(text) ? text : undefined,
  ).default(FREE_PORTS),
};

const tlsFiles = z.strictObject({ cert: file, key: file });

const serverOptions = z.strictObject({
  http: z
    .strictObject({
      listen: addressOption(parseListenAddress).prefault(":8080"),
      domain: option(
        "expected a domain such as example.com, without a dot in front; an IP address has no subdomains",
        domainOf,
      ).default("localhost"),
      public_url: option(
        "expected a URL without a path, such as https://example.com or https://example.com:8443",
        publicUrlOf,
      ).optional(),
      trusted_proxies: trustedProxies,
      // Longer than a client that was told to restart takes to come back, and shorter than people wait.
      hold_ms: optionalDurationMs.default(3_000),
      timeout_ms: durationMs.default(120_000),
    })
    .prefault({}),
  grpc: z
    .strictObject({
      listen: addressOption(parseListenAddress).prefault(":7000"),
      public_address: addressOption(parseServerAddress).optional(),
      tls: z
        .union([z.enum(["auto", "off"]), tlsFiles], {
          error: () => "expected auto, off or { cert: FILE, key: FILE }",
        })
        .default("auto"),
    })
    .prefault({}),
  tcp: z.strictObject({ ...portOptions, trusted_proxies: trustedProxies }).prefault({}),
  udp: z.strictObject(portOptions).prefault({}),
  tls: z
    .strictObject({ listen: addressOption(parseListenAddress), trusted_proxies: trustedProxies })
    .optional(),
  data_dir: option("expected the path of a directory", (text) => text || undefined).optional(),
  limits: limitOptions,
  keys: z.array(keyOptions).default([]),
});

type ServerOptions = z.output<typeof serverOptions>;

/**
 * Reads the server's config file; without one, the defaults.
 *
 * @param env for `${NAME}` in the file, and for the state directory
 * @throws ConfigError
 */
export function loadServerConfig(
  configPath: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
  overrides: ServerOverrides = {},
): LoadedServerConfig {
  const publicAddress = overriddenAddress(overrides.publicAddress);
  if (configPath === undefined) {
    const options = serverOptions.parse({});
    return {
      config: build(options, { directory: ".", files: noFiles(), env, overrides, publicAddress }),
      warnings: [],
    };
  }

  const directory = path.dirname(path.resolve(configPath));
  const files = noFiles();
  const schema = serverOptions.superRefine(
    (options, context) => {
      const report = (at: PropertyKey[], message: string): void =>
        context.addIssue({ code: "custom", path: at, message });
      checkServerOptions(options, { directory, files, report });
    },
    // Whatever else is wrong: one reading of the file lists all problems.
    { when: () => true },
  );
  const { value, worldReadable, fromEnvironment } = readConfigFile(configPath, schema, {
    env,
    ...MASKED,
  });

  const warnings: string[] = [];
  value.keys.forEach((key, i) => {
    if (key.secret !== undefined && worldReadable && !fromEnvironment(["keys", i, "secret"])) {
      warnings.push(`keys[${i}].secret: every user of this machine can read ${configPath}; chmod 600 it`);
    }
    if (files.secrets.get(i)?.worldReadable) {
      warnings.push(`keys[${i}].secret_file: every user of this machine can read this file; chmod 600 it`);
    }
  });
  return { config: build(value, { directory, files, env, overrides, publicAddress }), warnings };
}

interface BuildContext {
  /** What relative paths in the file start from. */
  directory: string;
  files: ConfigFiles;
  env: NodeJS.ProcessEnv;
  overrides: ServerOverrides;
  publicAddress: NetAddress | undefined;
}

function build(options: ServerOptions, context: BuildContext): ServerConfig {
  const { directory, files, env, overrides } = context;
  const { http, grpc, tcp, udp, tls } = options;
  const publicAddress = context.publicAddress ?? grpc.public_address;
  const dataDir = options.data_dir === undefined ? undefined : path.resolve(directory, options.data_dir);
  return {
    http: {
      listen: http.listen,
      domain: http.domain,
      ...(http.public_url && { publicUrl: http.public_url }),
      trustedProxies: http.trusted_proxies,
      holdMs: http.hold_ms,
      timeoutMs: http.timeout_ms,
    },
    grpc: {
      listen: grpc.listen,
      ...(publicAddress && { publicAddress }),
      tls:
        typeof grpc.tls === "string"
          ? grpc.tls
          : { cert: path.resolve(directory, grpc.tls.cert), key: path.resolve(directory, grpc.tls.key) },
    },
    tcp: { ...publicPorts(tcp), trustedProxies: tcp.trusted_proxies },
    udp: publicPorts(udp),
    ...(tls && { tls: { listen: tls.listen, trustedProxies: tls.trusted_proxies } }),
    dataDir: stateDirectory(overrides.dataDir ?? dataDir, env),
    limits: options.limits,
    keys: options.keys.map((key, i) => {
      const tunnels = key.tunnels.map((tunnel, j) =>
        keyTunnel(tunnel, http.domain, files.targetTls.get(`${i}.${j}`)),
      );
      return {
        name: key.name,
        secret: key.secret ?? files.secrets.get(i)!.secret,
        hostnames: [
          ...new Set([
            ...key.hostnames,
            ...tunnels.flatMap((tunnel) => ("hostname" in tunnel ? [tunnel.hostname] : [])),
          ]),
        ],
        ...(key.ports.length > 0 && { ports: key.ports.map((text) => readPortRange(text)!) }),
        tunnels,
      };
    }),
  };
}

function noFiles(): ConfigFiles {
  return { secrets: new Map(), targetTls: new Map() };
}

function publicPorts({ listen, ports: text }: ServerOptions["udp"]): ServerConfig["udp"] {
  const ports = readPortRange(text);
  return { ...(listen && { host: listen }), ...(ports && { ports }) };
}

function overriddenAddress(text: string | undefined): NetAddress | undefined {
  if (text === undefined) return undefined;
  const parsed = parseServerAddress(text);
  if (typeof parsed !== "string") return parsed;
  const message = `${parsed}, got ${quoted(text)}`;
  throw new ConfigError("command line", [{ line: 0, column: 0, path: "--public-address", message }]);
}

function publicUrlOf(text: string): PublicUrl | undefined {
  const match = /^(https?):\/\/([^/?#@]+)\/?$/i.exec(text);
  const place = match ? splitHostPort(match[2]!) : undefined;
  if (!match || !place || place.port === 0) return undefined;
  const scheme = match[1]!.toLowerCase() as PublicUrl["scheme"];
  const usual = scheme === "https" ? 443 : 80;
  return place.port === undefined || place.port === usual ? { scheme } : { scheme, port: place.port };
}

function domainOf(text: string): string | undefined {
  const domain = normalizeHostname(text);
  return domain === undefined || /(?:^|\.)[0-9]+$/.test(domain) ? undefined : domain;
}
