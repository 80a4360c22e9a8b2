/** `tunnel-server key …`: making, showing and revoking access keys. None of them needs a running server. */
import { randomInt } from "node:crypto";
import type { networkInterfaces } from "node:os";
import { encodeAccessKey } from "../../link/access-key.ts";
import { portsIn } from "../../link/port-range.ts";
import { formatAddress, type NetAddress } from "../../runtime/net-address.ts";
import { quoted } from "../../runtime/printable.ts";
import { ensureDirectory } from "../../runtime/state-directory.ts";
import { configKeyId, configKeySecret } from "../access/config-key.ts";
import { createKey } from "../access/create-key.ts";
import type { ServerConfig } from "../config/config.ts";
import { readOwnPin } from "../grpc/certificate.ts";
import { formatPortRange, type OwnPort, ownPortAmong, type Place } from "../routing/place.ts";
import { isName, keyFileIn, readKeyFile, updateKeyFile } from "../store/key-file.ts";
import { CommandError } from "../../runtime/command-error.ts";
import { addressForKeys } from "./key-address.ts";
import { type OtherServer, otherServerAt } from "./running-server.ts";
import { renewalLine } from "./key-renewal.ts";
import { age, table } from "./key-table.ts";
import { parseHostname, parsePorts, parseTunnels } from "./key-tunnel.ts";
import { type ShownKey, shownKey, tunnelInBrief, tunnelInWords } from "./shown-key.ts";

export interface KeyCommandContext {
  config: ServerConfig;
  /** Where the config came from, for messages. */
  configFile?: string | undefined;
  /** Takes one line of output, without its line feed. */
  out: (line: string) => void;
  /** This machine's addresses, as `os.networkInterfaces` has them. */
  interfaces?: ReturnType<typeof networkInterfaces>;
}

const SECRET_LENGTH = 32;
const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/**
 * Prints a fresh secret as the lines of a config.
 * @throws CommandError
 */
export async function keyGenerate(
  options: { name?: string },
  { out }: Pick<KeyCommandContext, "out">,
): Promise<void> {
  const { name = "home" } = options;
  checkName(name);
  const secret = Array.from({ length: SECRET_LENGTH }, () => LETTERS[randomInt(LETTERS.length)]).join("");
  out(
    "# For the server's config file. Add hostnames and tunnels as config.example.yaml shows, restart tunnel-server,",
  );
  out(`# then print the client's line with: tunnel-server key show ${name} --config FILE`);
  out("keys:");
  out(`  - name: ${quoted(name)}`);
  out(`    secret: ${secret}`);
}

/**
 * Makes a key in keys.json and prints the client's whole line, last.
 * @throws CommandError, NameTaken, KeyFileError, CertificateError, StateDirectoryError
 */
export async function keyCreate(
  options: {
    name: string;
    hostname?: string[];
    port?: string[];
    tunnel?: string[];
    publicAddress?: string;
    json?: boolean;
  },
  context: KeyCommandContext,
): Promise<void> {
  const { config, out } = context;
  checkName(options.name);
  const hostnames = (options.hostname ?? []).map(parseHostname);
  const ports = (options.port ?? []).map(parsePorts);
  const tunnels = parseTunnels(options.tunnel ?? [], config.http.domain);
  for (const tunnel of tunnels) checkReachable(tunnel, config);
  const server = await serverForKeys(options.publicAddress, context);
  await ensureDirectory(config.dataDir);
  const { key, token } = await createKey({
    dataDir: config.dataDir,
    name: options.name,
    hostnames,
    ports,
    tunnels,
    ...server.address,
    pin: server.pin,
    namesInConfig: config.keys.map(({ name }) => name),
  });
  const shown = shownKey(key, "keys.json");
  const command = clientLine(token, config);
  if (options.json) return out(asJson(shown, { token, command, server, config }));
  out(`Made the key ${quoted(key.name)}.`);
  printKey(shown, context, server);
  if (key.tunnels.length === 0) {
    out('No tunnel is mapped to it: say what to expose, as in "tunnel-client http 3000 --key ...".');
  }
  out(
    "The key is shown only this once, and whoever has it can come in. On the machine with the local service:",
  );
  out("");
  out(command);
}

/**
 * Prints all keys, of the config and of keys.json.
 * @throws KeyFileError
 */
export async function keyList(options: { json?: boolean }, context: KeyCommandContext): Promise<void> {
  const { config, out } = context;
  const keys = await allKeys(config);
  if (options.json) {
    out(JSON.stringify({ dataDir: config.dataDir, keys }));
    return;
  }
  out(`data directory: ${config.dataDir}`);
  if (keys.length === 0) {
    out("There are no keys. Make one with: tunnel-server key create --name NAME");
    return;
  }
  const rows = keys.map((key) => [
    key.name,
    key.id,
    key.source,
    key.hostnames.join(", ") || "-",
    key.ports.map(formatPortRange).join(", ") || "-",
    key.tunnels.map(tunnelInBrief).join(", ") || "-",
    key.created === undefined ? "-" : age(key.created),
  ]);
  for (const line of table([["NAME", "ID", "IN", "HOSTNAMES", "PORTS", "TUNNELS", "AGE"], ...rows]))
    out(line);
}

/**
 * Prints one key; for one of the config, whose secret is at hand, the client's whole line too, last.
 * @throws CommandError, KeyFileError, CertificateError
 */
export async function keyShow(
  options: { name: string; publicAddress?: string; json?: boolean },
  context: KeyCommandContext,
): Promise<void> {
  const { config, out } = context;
  const shown = (await allKeys(config)).find(({ name }) => name === options.name);
  if (!shown) throw noSuchKey(options.name, context);
  const inConfig = config.keys.find(({ name }) => name === options.name);
  if (!inConfig) {
    if (options.json) return out(JSON.stringify({ dataDir: config.dataDir, ...shown }));
    printKey(shown, context);
    out("Its secret was shown once, when it was made: keys.json holds only a hash. For a new one:");
    out("");
    out(renewalLine(shown, { dataDir: config.dataDir, configFile: context.configFile }));
    return;
  }
  const server = await serverForKeys(options.publicAddress, context);
  const token = encodeAccessKey({
    keyId: configKeyId(inConfig.name),
    secret: configKeySecret(inConfig.secret),
    ...server.address,
    ...(server.pin && { pin: server.pin }),
  });
  const command = clientLine(token, config);
  if (options.json) return out(asJson(shown, { token, command, server, config }));
  printKey(shown, context, server);
  out("Whoever has this key can come in. On the machine with the local service:");
  out("");
  out(command);
}

/**
 * Takes a key out of keys.json; a running server ends its sessions within a second.
 * @throws CommandError, KeyFileError
 */
export async function keyRevoke(options: { name: string }, context: KeyCommandContext): Promise<void> {
  const { config, configFile, out } = context;
  const file = keyFileIn(config.dataDir);
  const inConfig = config.keys.some(({ name }) => name === options.name);
  if (!(await readKeyFile(file)).some(({ name }) => name === options.name)) {
    if (!inConfig) throw noSuchKey(options.name, context);
    throw new CommandError(
      2,
      `The key ${quoted(options.name)} stands in ${configFile ?? "the config"}: remove it there, and restart tunnel-server.`,
    );
  }
  await updateKeyFile(file, (keys) => keys.filter(({ name }) => name !== options.name));
  out(`data directory: ${config.dataDir}`);
  out(`Revoked the key ${quoted(options.name)}: a running server ends its sessions within a second.`);
  if (inConfig) out(`The key of the same name in ${configFile ?? "the config"} stays.`);
}

/** What a token says of the server. */
interface ServerInKey {
  address: NetAddress;
  pin: Buffer | undefined;
}

async function serverForKeys(
  publicAddress: string | undefined,
  context: KeyCommandContext,
): Promise<ServerInKey> {
  const { grpc, dataDir } = context.config;
  const pin = grpc.tls === "auto" ? await readOwnPin(dataDir) : undefined;
  const other = grpc.tls === "auto" ? await otherServerAt(grpc.listen, pin) : undefined;
  if (other) throw anotherServer(other, context.config);
  if (grpc.tls === "auto" && !pin) {
    throw new CommandError(
      1,
      `No server has ever started with the data directory ${dataDir}, and an access key carries the pin of the ` +
        "certificate that the first start makes. Start tunnel-server first, with the same --config and --data-dir.",
    );
  }
  return { address: addressForKeys(publicAddress, grpc, context.interfaces), pin };
}

function anotherServer({ directory }: OtherServer, { grpc, dataDir }: ServerConfig): CommandError {
  return new CommandError(
    1,
    `The tunnel-server that answers at ${formatAddress(grpc.listen)} uses ${directory ?? "another data directory"}, and this ` +
      `command ${dataDir}: no client could come in with such a key. Run it as the user that runs tunnel-server (with sudo, ` +
      "if that is root), and with the same --config and --data-dir.",
  );
}

async function allKeys(config: ServerConfig): Promise<ShownKey[]> {
  const stored = await readKeyFile(keyFileIn(config.dataDir));
  const configured = config.keys.map((key) =>
    shownKey({ ...key, id: configKeyId(key.name).toString("hex") }, "config"),
  );
  return [...configured, ...stored.map((key) => shownKey(key, "keys.json"))];
}

function printKey(key: ShownKey, { config, configFile, out }: KeyCommandContext, server?: ServerInKey): void {
  const rows = [
    ["name", key.name],
    ["id", key.id],
    ["in", key.source === "config" ? (configFile ?? "the config") : keyFileIn(config.dataDir)],
    ["data directory", config.dataDir],
    ...(server ? [["server", `${formatAddress(server.address)} (${proofOf(config, server)})`]] : []),
    ["hostnames", key.hostnames.join(", ") || "only subdomains"],
    ["ports", key.ports.map(formatPortRange).join(", ") || "only free ones"],
    ...key.tunnels.map((tunnel) => ["tunnel", tunnelInWords(tunnel)]),
    ...(key.created === undefined ? [] : [["made", `${key.created} (${age(key.created)} ago)`]]),
  ];
  for (const line of table(rows)) out(`  ${line}`);
}

/** For scripts: the key, and how a client comes in with it. */
function asJson(
  shown: ShownKey,
  made: { token: string; command: string; server: ServerInKey; config: ServerConfig },
): string {
  const { token, command, server, config } = made;
  const address = formatAddress(server.address);
  return JSON.stringify({ dataDir: config.dataDir, ...shown, server: address, key: token, command });
}

function proofOf(config: ServerConfig, { pin }: ServerInKey): string {
  if (pin) return "TLS, its certificate is pinned";
  return config.grpc.tls === "off" ? "without TLS" : "TLS, certificate of an authority";
}

function clientLine(token: string, config: ServerConfig): string {
  return `tunnel-client --key ${token}${config.grpc.tls === "off" ? " --plaintext" : ""}`;
}

/**
 * That the server with this config has a place for the tunnel.
 * @throws CommandError
 */
function checkReachable(tunnel: Place & { name: string }, config: ServerConfig): void {
  const { tcp, udp, tls } = config;
  const fail = (why: string): CommandError =>
    new CommandError(
      2,
      `--tunnel ${tunnel.name}: ${why} If the server runs with another config, name it with --config.`,
    );
  if (tunnel.kind === "TLS" && !tls) {
    throw fail("the config has no tls.listen, where visitors of TLS tunnels arrive.");
  }
  if (!("port" in tunnel)) return;
  if (tunnel.port > 0) {
    const own = ownPortAmong(tunnel, ownPortsOf(config));
    if (own) throw fail(`port ${own.port} is the server's own (${own.option}): choose another.`);
    return;
  }
  const { ports } = tunnel.kind === "TCP" ? tcp : udp;
  const free = ports ? portsIn(ports) : 0;
  if (free < tunnel.ports) {
    const option = `${tunnel.kind.toLowerCase()}.ports`;
    throw fail(`it needs ${tunnel.ports} of ${option}, which has ${free}: add its own with "@".`);
  }
}

function ownPortsOf({ http, grpc, tls }: ServerConfig): OwnPort[] {
  return [
    { option: "http.listen", port: http.listen.port },
    { option: "grpc.listen", port: grpc.listen.port },
    ...(tls ? [{ option: "tls.listen", port: tls.listen.port }] : []),
  ];
}

function checkName(name: string): void {
  if (isName(name)) return;
  throw new CommandError(
    2,
    `--name: expected a name such as "home", of letters, digits, ".", "_" and "-", got ${quoted(name)}`,
  );
}

function noSuchKey(name: string, { config }: KeyCommandContext): CommandError {
  return new CommandError(
    1,
    `There is no key called ${quoted(name)}, neither in the config nor in ${keyFileIn(config.dataDir)}. ` +
      '"tunnel-server key list" shows all.',
  );
}
