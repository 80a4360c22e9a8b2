import type { TargetTls } from "../../link/messages.ts";
import type { PortRange } from "../../link/port-range.ts";
import type { ProxyProtocol, TunnelLimits } from "../routing/route.ts";
import type { MappedTunnel } from "../store/key-file.ts";

/** A tunnel that the server maps to a key; the options are the config's. */
export type KeyTunnel = MappedTunnel & {
  /** How an `https://` target is checked; if left out, by the authorities of the client's machine. */
  targetTls?: TargetTls;
  /** What the local service gets as Host; if left out, what the visitor sent. */
  hostHeader?: string;
  /** How long an answer's head may take; if left out, the server's own limit. */
  timeoutMs?: number;
  /** The version in which the local service of a TCP or TLS tunnel is told who visits; if left out, it is not. */
  proxyProtocol?: ProxyProtocol;
  limits?: TunnelLimits;
};

/** Who may come in, with which rights. */
export interface Key {
  /** 16 hex digits. */
  id: string;
  name: string;
  /** Public names (routing/hostname.ts). Subdomains need no entry. */
  hostnames: readonly string[];
  /** Public ports that it may ask for, TCP and UDP, beside those that any key may. */
  ports?: readonly PortRange[] | undefined;
  tunnels: readonly KeyTunnel[];
  source: "config" | "store";
}
