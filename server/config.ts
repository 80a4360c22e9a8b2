import path from "node:path";
import { z } from "zod";
import { ConfigError } from "../runtime/config-error.ts";
import { readConfigFile } from "../runtime/config-file.ts";
import { addressOption, option } from "../runtime/config-option.ts";
import {
  formatAddress,
  parseListenAddress,
  parseServerAddress,
  parseTargetAddress,
  type ListenAddress,
  type NetAddress,
} from "../runtime/net-address.ts";
import { quoted } from "../runtime/printable.ts";
import { stateDirectory } from "../runtime/state-directory.ts";
import {
  checkServerOptions,
  SECRET,
  SECRET_EXPECTED,
  tunnelHostname,
  type SecretFiles,
} from "./config-check.ts";
import { normalizeHostname, normalizeSubdomain } from "./routing/hostname.ts";

/** What a server runs with; every path is absolute. */
export interface ServerConfig {
  http: {
    listen: ListenAddress;
    /** Subdomains live under it. */
    domain: string;
  };
  grpc: {
    listen: ListenAddress;
    /** What goes into access keys. */
    publicAddress?: NetAddress;
    /** `auto` is a certificate made at first start; files are PEM. */
    tls: "auto" | "off" | { cert: string; key: string };
  };
  dataDir: string;
  keys: ConfiguredKey[];
}

export interface ConfiguredKey {
  name: string;
  secret: string;
  /** Normalised, `"*"` among them if listed; the hostnames of the key's tunnels too, since who writes the mapping grants them. */
  hostnames: string[];
  tunnels: ConfiguredTunnel[];
}

export interface ConfiguredTunnel {
  name: string;
  type: "http";
  /** Whole and normalised, also where the file has a subdomain or neither; or `"*"`. */
  hostname: string;
  /** HOST:PORT, as the client is told. */
  target: string;
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

// A secret put where its file's name belongs must not be shown either.
const SECRETS = ["secret", "secret_file", "key"];

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

const name = option('expected a name such as "web", of letters, digits, ".", "_" and "-"', (text) =>
  NAME.test(text) ? text : undefined,
);
const hostname = option(
  'expected a hostname such as app.example.com, without scheme, port or path, or "*" for whatever no other name takes',
  (text) => (text === "*" ? text : normalizeHostname(text)),
);
const file = option("expected the path of a file", (text) => text || undefined);

const tunnelOptions = z.strictObject({
  name,
  type: z.literal("http"),
  hostname: hostname.optional(),
  subdomain: option(
    "expected a single label such as app, of letters, digits and hyphens",
    normalizeSubdomain,
  ).optional(),
  target: addressOption(parseTargetAddress).transform(formatAddress),
});

const keyOptions = z.strictObject({
  name,
  secret: z.string().regex(SECRET, { error: SECRET_EXPECTED }).optional(),
  secret_file: file.optional(),
  hostnames: z.array(hostname).default([]),
  tunnels: z.array(tunnelOptions).default([]),
});

const tlsFiles = z.strictObject({ cert: file, key: file });

const serverOptions = z.strictObject({
  http: z
    .strictObject({
      listen: addressOption(parseListenAddress).prefault(":8080"),
      domain: option(
        "expected a domain such as example.com, without a dot in front; an IP address has no subdomains",
        domainOf,
      ).default("localhost"),
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
  data_dir: option("expected the path of a directory", (text) => text || undefined).optional(),
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
      config: build(options, { directory: ".", files: new Map(), env, overrides, publicAddress }),
      warnings: [],
    };
  }

  const directory = path.dirname(path.resolve(configPath));
  const files: SecretFiles = new Map();
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
    secrets: SECRETS,
  });

  const warnings: string[] = [];
  value.keys.forEach((key, i) => {
    if (key.secret !== undefined && worldReadable && !fromEnvironment(["keys", i, "secret"])) {
      warnings.push(`keys[${i}].secret: every user of this machine can read ${configPath}; chmod 600 it`);
    }
    if (files.get(i)?.worldReadable) {
      warnings.push(`keys[${i}].secret_file: every user of this machine can read this file; chmod 600 it`);
    }
  });
  return { config: build(value, { directory, files, env, overrides, publicAddress }), warnings };
}

interface BuildContext {
  /** What relative paths in the file start from. */
  directory: string;
  files: SecretFiles;
  env: NodeJS.ProcessEnv;
  overrides: ServerOverrides;
  publicAddress: NetAddress | undefined;
}

function build(options: ServerOptions, context: BuildContext): ServerConfig {
  const { directory, files, env, overrides } = context;
  const { http, grpc } = options;
  const publicAddress = context.publicAddress ?? grpc.public_address;
  const dataDir = options.data_dir === undefined ? undefined : path.resolve(directory, options.data_dir);
  return {
    http,
    grpc: {
      listen: grpc.listen,
      ...(publicAddress && { publicAddress }),
      tls:
        typeof grpc.tls === "string"
          ? grpc.tls
          : { cert: path.resolve(directory, grpc.tls.cert), key: path.resolve(directory, grpc.tls.key) },
    },
    dataDir: stateDirectory(overrides.dataDir ?? dataDir, env),
    keys: options.keys.map((key, i) => {
      const tunnels = key.tunnels.map((tunnel) => ({
        name: tunnel.name,
        type: tunnel.type,
        hostname: tunnelHostname(tunnel, http.domain)!,
        target: tunnel.target,
      }));
      return {
        name: key.name,
        secret: key.secret ?? files.get(i)!.secret,
        hostnames: [...new Set([...key.hostnames, ...tunnels.map((tunnel) => tunnel.hostname)])],
        tunnels,
      };
    }),
  };
}

function overriddenAddress(text: string | undefined): NetAddress | undefined {
  if (text === undefined) return undefined;
  const parsed = parseServerAddress(text);
  if (typeof parsed !== "string") return parsed;
  const message = `${parsed}, got ${quoted(text)}`;
  throw new ConfigError("command line", [{ line: 0, column: 0, path: "--public-address", message }]);
}

function domainOf(text: string): string | undefined {
  const domain = normalizeHostname(text);
  return domain === undefined || /(?:^|\.)[0-9]+$/.test(domain) ? undefined : domain;
}
