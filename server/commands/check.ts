import { ConfigError } from "../../runtime/config-error.ts";
import { formatAddress } from "../../runtime/net-address.ts";
import { printable } from "../../runtime/printable.ts";
import { placeInWords } from "../routing/place.ts";
import { loadServerConfig, type ConfiguredKey, type ServerConfig } from "../config.ts";

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

function summary({ http, grpc, dataDir, keys }: ServerConfig): string[] {
  const tls = typeof grpc.tls === "string" ? grpc.tls : grpc.tls.cert;
  const publicAddress = grpc.publicAddress ? `, public address ${formatAddress(grpc.publicAddress)}` : "";
  const tunnels = keys.reduce((count, key) => count + key.tunnels.length, 0);
  return [
    `http      ${formatAddress(http.listen)}, domain ${http.domain}`,
    `grpc      ${formatAddress(grpc.listen)}${publicAddress}, tls ${tls}`,
    `data_dir  ${dataDir}`,
    `keys      ${keys.length}, with ${tunnels} ${tunnels === 1 ? "tunnel" : "tunnels"}`,
    ...keys.flatMap(describeKey),
  ];
}

function describeKey({ name, hostnames, tunnels }: ConfiguredKey): string[] {
  const names = hostnames.length > 0 ? `, hostnames ${hostnames.join(" ")}` : "";
  return [
    `  ${name}: secret ******${names}`,
    ...tunnels.map(
      (tunnel) =>
        `    ${tunnel.name}: ${tunnel.kind.toLowerCase()} ${placeInWords(tunnel)} -> ${tunnel.target}`,
    ),
  ];
}
