import type { Kind, TargetTls } from "../link/messages.ts";
import type { Target } from "../link/target.ts";

/** A tunnel that the client asks for, the target being its own choice. */
export interface WantedTunnel {
  name?: string | undefined;
  kind: Kind;
  /** HTTP and TLS take a hostname, a subdomain, or neither: then a name that stays the same for this client and port. */
  hostname?: string | undefined;
  subdomain?: string | undefined;
  target: Target;
  /** How an `https://` target is checked, if not by the authorities that Node.js knows. */
  targetTls?: TargetTls | undefined;
  /** What the local service gets as Host, or `target` for the target's own; if left out, what the visitor sent. */
  hostHeader?: string | undefined;
  /** How long an answer's head may take; if left out, the server's own limit. */
  timeoutMs?: number | undefined;
  /** The public port of TCP and UDP, or the first of several; if left out, any free one, the same each time. */
  port?: number | undefined;
  /** How many ports, one behind the other, in public and at the target; 1 if left out. */
  ports?: number | undefined;
  /** The PROXY protocol's version for TCP and TLS; if left out, the local service gets no such header. */
  proxyProtocol?: 1 | 2 | undefined;
}
