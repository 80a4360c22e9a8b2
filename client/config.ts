import { accessSync, constants } from "node:fs";
import path from "node:path";
import { z } from "zod";
import type { TargetTls } from "../link/messages.ts";
import { readConfigFile } from "../runtime/config-file.ts";
import { addressOption, option } from "../runtime/config-option.ts";
import { fileErrorInWords } from "../runtime/file-error.ts";
import { parseServerAddress, type NetAddress } from "../runtime/net-address.ts";
import { readSecretFile, type SecretFile } from "../runtime/secret-file.ts";
import type { WantedTunnel } from "./wanted-tunnel.ts";
import { expectedAllowRule } from "./local/consent.ts";
import { parseProxyOption, type ProxyOption } from "./proxy-choice.ts";
import { hostnameOf } from "./target-options.ts";
import { checkTunnel, type ReadTunnel } from "./tunnel-check.ts";
import { tunnelOptions, wantedTunnel } from "./tunnel-options.ts";

/** What client.yaml says; every path is absolute. The command line may add to it. */
export interface ClientConfig {
  server?: NetAddress;
  /** The access key, from the file itself or from the file that it names; its form is not checked here. */
  key?: string;
  /** The server has no TLS. */
  plaintext: boolean;
  /** A PEM file of certificates to trust. */
  ca?: string;
  /** The name that the server's certificate must have. */
  serverName?: string;
  /** On the way to the server. */
  proxy?: ProxyOption;
  /** As `--allow`, each of valid form. */
  allow: string[];
  tunnels: WantedTunnel[];
  dataDir?: string;
}

export interface LoadedClientConfig {
  config: ClientConfig;
  /** What works, and should be different. */
  warnings: string[];
}

const MASKED = { secrets: ["key", "proxy"], secretFiles: ["key_file"] };

const file = option("expected the path of a file", (text) => text || undefined);

const clientOptions = z.strictObject({
  server: addressOption(parseServerAddress).optional(),
  key: option("expected an access key as the server printed it", (text) =>
    /^\S+$/.test(text) ? text : undefined,
  ).optional(),
  key_file: file.optional(),
  plaintext: z.boolean().default(false),
  ca: file.optional(),
  server_name: option("expected a name such as tunnel.example.com", hostnameOf).optional(),
  proxy: addressOption(parseProxyOption).optional(),
  allow: z
    .array(addressOption((rule) => expectedAllowRule(rule) ?? { rule }).transform(({ rule }) => rule))
    .default([]),
  tunnels: z.array(tunnelOptions).default([]),
  data_dir: option("expected the path of a directory", (text) => text || undefined).optional(),
});

type ClientOptions = z.output<typeof clientOptions>;

/**
 * Reads client.yaml.
 *
 * @param env for `${NAME}` in the file
 * @throws ConfigError
 */
export function loadClientConfig(
  configPath: string,
  env: NodeJS.ProcessEnv = process.env,
): LoadedClientConfig {
  const directory = path.dirname(path.resolve(configPath));
  const found: Found = { targetTls: new Map() };
  const schema = clientOptions.superRefine(
    (options, context) => {
      check(options, directory, found, (at, message) =>
        context.addIssue({ code: "custom", path: at, message }),
      );
    },
    // Whatever else is wrong: one reading of the file lists all problems.
    { when: () => true },
  );
  const { value, worldReadable, fromEnvironment } = readConfigFile(configPath, schema, {
    env,
    ...MASKED,
  });

  const warnings: string[] = [];
  if (value.key !== undefined && worldReadable && !fromEnvironment(["key"])) {
    warnings.push(`key: every user of this machine can read ${configPath}; chmod 600 it`);
  }
  if (value.proxy?.proxy?.credentials !== undefined && worldReadable && !fromEnvironment(["proxy"])) {
    warnings.push(`proxy: every user of this machine can read the password in ${configPath}; chmod 600 it`);
  }
  if (found.keyFile?.worldReadable) {
    warnings.push("key_file: every user of this machine can read this file; chmod 600 it");
  }
  return { config: build(value, directory, found), warnings };
}

/** What was read on the way. */
interface Found {
  keyFile?: SecretFile;
  /** By the index of the tunnel. */
  targetTls: Map<number, TargetTls>;
}

/** What no option shows by itself; options of a file with other mistakes may be of any type. */
function check(
  { key, key_file: keyFile, plaintext, ca, server_name: serverName, allow, tunnels }: ClientOptions,
  directory: string,
  found: Found,
  report: (at: PropertyKey[], message: string) => void,
): void {
  if (key !== undefined && keyFile !== undefined) {
    report(["key_file"], "a client has one key: take out key or key_file");
  }
  if (typeof keyFile === "string") {
    const read = readSecretFile(path.resolve(directory, keyFile));
    if (typeof read === "string") report(["key_file"], read);
    else found.keyFile = read;
  }
  if (typeof ca === "string") {
    try {
      accessSync(path.resolve(directory, ca), constants.R_OK);
    } catch (error) {
      report(["ca"], `expected a file that can be read (${fileErrorInWords(error)})`);
    }
  }
  if (plaintext) {
    const message = "means nothing beside plaintext, which checks no certificate: take out one of them";
    if (ca !== undefined) report(["ca"], message);
    if (serverName !== undefined) report(["server_name"], message);
  }
  if (Array.isArray(allow) && allow.includes("none") && allow.some((rule) => /^any(:|$)/.test(rule))) {
    report(["allow"], "none and any contradict each other: take out one of them");
  }
  if (!Array.isArray(tunnels)) return;
  const taken = new Map<string, number>();
  tunnels.forEach((tunnel: ReadTunnel | null, i) => {
    const at = ["tunnels", i];
    const targetTls = checkTunnel(tunnel ?? {}, directory, (name, message) => report([...at, name], message));
    if (targetTls) found.targetTls.set(i, targetTls);
    if (typeof tunnel?.name !== "string") return;
    const first = taken.get(tunnel.name);
    if (first === undefined) taken.set(tunnel.name, i);
    else report([...at, "name"], `this name is taken by tunnels[${first}]: names are given once`);
  });
}

function build(options: ClientOptions, directory: string, { keyFile, targetTls }: Found): ClientConfig {
  const { server, ca, server_name: serverName, plaintext, proxy, allow, data_dir: dataDir } = options;
  const key = options.key ?? keyFile?.secret;
  return {
    ...(server && { server }),
    ...(key !== undefined && { key }),
    plaintext,
    ...(ca !== undefined && { ca: path.resolve(directory, ca) }),
    ...(serverName !== undefined && { serverName }),
    ...(proxy && { proxy }),
    allow,
    tunnels: options.tunnels.map((tunnel, i) => wantedTunnel(tunnel, targetTls.get(i))),
    ...(dataDir !== undefined && { dataDir: path.resolve(directory, dataDir) }),
  };
}
