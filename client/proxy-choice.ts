import { usageError } from "../runtime/command-error.ts";
import { formatAddress, type NetAddress } from "../runtime/net-address.ts";
import { parseProxy, type HttpProxy, type ProxyAddress } from "./connection/http-proxy.ts";
import { isExempt, isLocalHost } from "./no-proxy.ts";

/** What an option says: this proxy, or none whatever the environment names. */
export interface ProxyOption {
  proxy: ProxyAddress | undefined;
}

/** Reads `URL` or `none`; a string says what was expected. */
export function parseProxyOption(text: string): ProxyOption | string {
  if (text === "none") return { proxy: undefined };
  const parsed = parseProxy(text);
  return typeof parsed === "string" ? `${parsed}; or none` : { proxy: parsed };
}

/**
 * Which proxy the way to the server leads through. The command line counts before the file, the file before the environment, which
 * is read as by most programs: in lower case first, `HTTPS_PROXY` before `ALL_PROXY`, neither for what `NO_PROXY` names.
 * This machine is never reached through a proxy.
 *
 * @throws CommandError
 */
export function chooseProxy({
  server,
  flag,
  config,
  env,
}: {
  server: NetAddress;
  flag: string | undefined;
  config: ProxyOption | undefined;
  env: NodeJS.ProcessEnv;
}): { proxy?: HttpProxy; warnings: string[] } {
  const explicit =
    flag === undefined
      ? config && { ...config, setBy: "client.yaml" }
      : { ...parsedFlag(flag), setBy: "--proxy" };
  if (!explicit) return proxyFromEnvironment(server, env);
  const { proxy, setBy } = explicit;
  if (!proxy) return { warnings: [] };
  if (!isLocalHost(server.host)) return { proxy: { ...proxy, setBy }, warnings: [] };
  const where = formatAddress(server);
  return { warnings: [`the proxy from ${setBy} is not used: ${where} is on this machine`] };
}

/** Parsed here and not by commander, whose messages show the whole text. */
function parsedFlag(text: string): ProxyOption {
  const parsed = parseProxyOption(text);
  if (typeof parsed === "string") throw usageError(`--proxy: ${parsed}`);
  return parsed;
}

function proxyFromEnvironment(
  server: NetAddress,
  env: NodeJS.ProcessEnv,
): { proxy?: HttpProxy; warnings: string[] } {
  const noProxy = variable(env, "NO_PROXY");
  if (isLocalHost(server.host) || isExempt(server, noProxy?.value ?? "")) return { warnings: [] };
  const https = variable(env, "HTTPS_PROXY");
  if (https) {
    const proxy = parseProxy(https.value);
    if (typeof proxy !== "string") return { proxy: { ...proxy, setBy: https.name }, warnings: [] };
    throw usageError(
      `${https.name}: ${proxy}. To connect without a proxy, pass --proxy none or name the server in NO_PROXY.`,
    );
  }
  const all = variable(env, "ALL_PROXY");
  if (!all) return { warnings: [] };
  // It speaks to programs of all kinds, and often names a proxy of another one.
  const proxy = parseProxy(all.value);
  if (typeof proxy !== "string") return { proxy: { ...proxy, setBy: all.name }, warnings: [] };
  return { warnings: [`${all.name} is ignored: ${proxy}`] };
}

function variable(env: NodeJS.ProcessEnv, name: string): { name: string; value: string } | undefined {
  for (const spelling of [name.toLowerCase(), name]) {
    const value = env[spelling]?.trim();
    if (value) return { name: spelling, value };
  }
  return undefined;
}
