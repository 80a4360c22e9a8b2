import { ConfigError } from "../../runtime/config-error.ts";
import { formatAddress } from "../../runtime/net-address.ts";
import { printable } from "../../runtime/printable.ts";
import type { KeyTunnel } from "../access/key.ts";
import { loadServerConfig, type ConfiguredKey, type ServerConfig } from "../config/config.ts";
import { formatPortRange, placeInWords } from "../routing/place.ts";
import { targetInWords } from "./target-words.ts";

export interface Output {
  write(text: string): unknown;
}

/**
 * `tunnel-server check`: reads the config file as the server would, and says what it amounts to or all that is wrong
 * with it.
 *
 * @returns the exit code: 0, or 2 for a file with problems
 */
export function checkCommand(configPath: string, out: Output, env: NodeJS.ProcessEnv = process.env): number {
  try {
    const { config, warnings } = loadServerConfig(configPath, env);
    out.write(`${configPath}: fine\n`);
    for (const line of summary(config)) out.write(`  ${printable(line)}\n`);
    for (const warning of warnings) out.write(`warning: ${printable(warning)}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    out.write(`${error.message}\n`);
    return 2;
  }
}

function summary({ http, grpc, tcp, udp, tls: tlsPort, dataDir, keys }: ServerConfig): string[] {
  const tls = typeof grpc.tls === "string" ? grpc.tls : grpc.tls.cert;
  const publicAddress = grpc.publicAddress ? `, public address ${formatAddress(grpc.publicAddress)}` : "";
  const tunnels = keys.reduce((count, key) => count + key.tunnels.length, 0);
  return [
    `http      ${formatAddress(http.listen)}, domain ${http.domain}`,
    `grpc      ${formatAddress(grpc.listen)}${publicAddress}, tls ${tls}`,
    `tcp       ${publicPorts(tcp)}`,
    `udp       ${publicPorts(udp)}`,
    ...(tlsPort ? [`tls       ${formatAddress(tlsPort.listen)}`] : []),
    `data_dir  ${dataDir}`,
    `keys      ${keys.length}, with ${tunnels} ${tunnels === 1 ? "tunnel" : "tunnels"}`,
    ...keys.flatMap(describeKey),
  ];
}

function publicPorts({ host, ports }: ServerConfig["udp"]): string {
  return `${host ?? "all addresses"}, free ports ${ports ? formatPortRange(ports) : "none"}`;
}

function describeKey(key: ConfiguredKey): string[] {
  const { name, hostnames, ports = [], tunnels } = key;
  const names = hostnames.length > 0 ? `, hostnames ${hostnames.join(" ")}` : "";
  const portRights = ports.length > 0 ? `, ports ${ports.map(formatPortRange).join(" ")}` : "";
  return [`  ${name}: secret ******${names}${portRights}`, ...tunnels.map(describeTunnel)];
}

function describeTunnel(tunnel: KeyTunnel): string {
  const { name, kind, target, proxyProtocol, limits = {} } = tunnel;
  const ports = "ports" in tunnel ? tunnel.ports : 1;
  const options = [
    ["proxy_protocol", proxyProtocol && `v${proxyProtocol}`],
    ["connections", limits.connections],
    ["connections_per_visitor", limits.connectionsPerVisitor],
    ["idle_timeout_ms", limits.idleTimeoutMs],
    ["bytes_per_second", limits.bytesPerSecond],
  ].flatMap(([option, value]) => (value === undefined ? [] : [`, ${option} ${value}`]));
  return `    ${name}: ${kind.toLowerCase()} ${placeInWords(tunnel)} -> ${targetInWords(target, ports)}${options.join("")}`;
}
