/** From a server's name to the one address that a gRPC call may go to. */
import { lookup } from "node:dns/promises";
import { isIPv6 } from "node:net";
import type { ChannelCredentials, ChannelOptions } from "@grpc/grpc-js";
import { TunnelError } from "../../link/errors.ts";
import { formatAddress } from "../../runtime/net-address.ts";
import { WayCredentials, type Way } from "./channel-credentials.ts";
import { firstLook, LookTimeout, type LookTarget } from "./first-look.ts";
import { proxyInWords, type HttpProxy } from "./http-proxy.ts";

export interface DialOptions {
  /** A name or an address; IPv6 without brackets. */
  host: string;
  port: number;
  /** From the access key; if given it alone decides whether the server is the right one. */
  pin?: Buffer;
  /** No TLS. */
  plaintext?: boolean;
  /** PEM of the authorities to trust in place of those that Node.js knows. */
  ca?: string;
  /** What the certificate must be made out to; `host` if absent. */
  serverName?: string;
  /** Dialled in the server's place; it is told the server's name, which is not looked up here. */
  proxy?: HttpProxy;
  signal: AbortSignal;
  /** For all of it: names, connecting, the server's proof. */
  timeoutMs: number;
  /** All addresses of a host. */
  resolve?: (host: string) => Promise<string[]>;
}

export interface Dialled {
  /** A target for grpc-js with the address that was looked at: "ipv4:192.0.2.1:7000", "ipv6:[2001:db8::1]:7000". */
  address: string;
  /** They let no byte of a call out before the server has proven itself on that very connection. */
  credentials: ChannelCredentials;
  /** What a channel to this address needs; windows and keepalive are the caller's. */
  options: ChannelOptions;
}

/** How long an address may be silent before the next one is tried beside it (RFC 8305 section 5). */
const STAGGER_MS = 250;
const MAX_ADDRESSES = 8;

/**
 * Looks the name up afresh, the server's or that of the proxy in front of it, and finds the first of its addresses where the right server answers. The access
 * key's secret plays no part here.
 * @throws TunnelError `unreachable`, or `certificate` if the server is not who it should be; the reason of
 * `signal` if that aborts
 */
export async function dial(options: DialOptions): Promise<Dialled> {
  const { host, proxy, signal, timeoutMs } = options;
  const where = formatAddress(options);
  if (options.plaintext && options.pin) {
    throw new TunnelError(
      "certificate",
      `${where}: the access key carries the server's certificate, so its server speaks TLS and the key must not ` +
        "travel without it: leave out --plaintext, or make a new key on a server with grpc.tls: off",
    );
  }
  const way: Way = {
    where,
    proxy,
    identity: options.plaintext
      ? undefined
      : { where, name: options.serverName ?? host, pin: options.pin, ca: options.ca },
  };
  const { port } = proxy ?? options;

  signal.throwIfAborted();
  // Not AbortSignal.any: in Node.js 20 what it makes lives as long as the caller's signal, and clients dial for ever.
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal.reason);
  const timer = setTimeout(() => stop.abort(new LookTimeout()), timeoutMs);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const addresses = await addressesOf(
      { host: proxy?.host ?? host, called: proxy ? proxyInWords(proxy) : host },
      options.resolve ?? resolveByDns,
      stop.signal,
    );
    const address = await firstGood(
      addresses.map((address) => ({ address, port, ...way })),
      stop.signal,
    );
    return {
      address: `${isIPv6(address) ? "ipv6" : "ipv4"}:${formatAddress({ host: address, port })}`,
      credentials: new WayCredentials(way),
      options: {
        "grpc.default_authority": where,
        "grpc.use_local_subchannel_pool": 1,
        "grpc.enable_retries": 0,
        // grpc-js would look into the environment itself, at other variables and in another order.
        "grpc.enable_http_proxy": 0,
      },
    };
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    stop.abort();
  }
}

async function resolveByDns(host: string): Promise<string[]> {
  const found = await lookup(host, { all: true });
  return found.map(({ address }) => address);
}

async function addressesOf(
  { host, called }: { host: string; called: string },
  resolve: (host: string) => Promise<string[]>,
  signal: AbortSignal,
): Promise<string[]> {
  const resolved = resolve(host).catch((error: NodeJS.ErrnoException) => {
    throw notFound(called, error.code ?? error.message, error);
  });
  const aborted = new Promise<never>((_, fail) => {
    const onAbort = (): void =>
      fail(signal.reason instanceof LookTimeout ? notFound(called, "no answer in time") : signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  // A lookup cannot be cancelled; one that comes too late speaks to nobody.
  const addresses = await Promise.race([resolved, aborted]);
  if (addresses.length === 0) throw notFound(called, "it has none");
  return addresses.slice(0, MAX_ADDRESSES);
}

function notFound(called: string, why: string, cause?: Error): TunnelError {
  return new TunnelError(
    "unreachable",
    `the address of ${called} cannot be found (${why}): check the name, and this machine's network and DNS`,
    { cause },
  );
}

/** Looks at each target in turn, the next as soon as one fails or is silent for a while; the first good one wins. */
async function firstGood(targets: LookTarget[], signal: AbortSignal): Promise<string> {
  const failures = new Map<LookTarget, unknown>();
  const waiting = [...targets];
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<string>((found, fail) => {
      const lookAtNext = (): void => {
        clearTimeout(timer);
        const target = waiting.shift();
        if (!target) return;
        timer = setTimeout(lookAtNext, STAGGER_MS);
        firstLook(target, signal).then(
          () => found(target.address),
          (error: unknown) => {
            failures.set(target, error);
            if (failures.size === targets.length || signal.aborted) fail(mostTelling(targets, failures));
            else lookAtNext();
          },
        );
      };
      lookAtNext();
    });
  } finally {
    clearTimeout(timer);
  }
}

/** A certificate's error first: somebody answered, and nothing else says as much. Else that of the first address. */
function mostTelling(targets: LookTarget[], failures: Map<LookTarget, unknown>): unknown {
  const inOrder = targets.filter((target) => failures.has(target)).map((target) => failures.get(target));
  return inOrder.find((error) => error instanceof TunnelError && error.code === "certificate") ?? inOrder[0];
}
