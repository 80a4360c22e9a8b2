import type { AddressInfo } from "node:net";
import { formatAddress } from "../../../runtime/net-address.ts";
import type { Route } from "../../routing/route.ts";
import { listenForVisitors } from "./listener.ts";
import { Visitors, type VisitorsOptions } from "./visitors.ts";

export interface TlsEdgeOptions extends VisitorsOptions {
  /** All addresses, IPv6 and IPv4, if left out. */
  host?: string | undefined;
  /** 0 for any free one. */
  port: number;
  /** By normalised hostname; "*" for who names none. */
  findRoute: (hostname: string) => Route | undefined;
}

/** Where visitors over TLS arrive: what they send is passed on as it is, to whom their ClientHello names. */
export interface TlsEdge {
  readonly port: number;
  /** Connections of visitors. */
  readonly connections: number;
  /** Takes no new visitors, lets those who are there go on for so long, then cuts them. */
  stop(graceMs: number): Promise<void>;
}

/** @throws Error that says which option to change if the port cannot be listened on */
export async function startTlsEdge(options: TlsEdgeOptions): Promise<TlsEdge> {
  const { host, port, findRoute } = options;
  const visitors = new Visitors(options);
  const listener = await listenForVisitors({
    host,
    port,
    onVisitor: (socket) => visitors.take(socket, { kind: "TLS", find: findRoute }),
    onTrouble: (error) => visitors.warnings.warn({ error }, "a visitor's connection could not be taken"),
  }).catch((error: NodeJS.ErrnoException) => {
    const place = formatAddress({ port, ...(host !== undefined && { host }) });
    throw new Error(`tls.listen: cannot listen on ${place}: ${reason(error)}`, { cause: error });
  });
  return {
    port: (listener.address() as AddressInfo).port,
    get connections() {
      return visitors.size;
    },
    async stop(graceMs) {
      listener.close();
      await visitors.leave(graceMs);
    },
  };
}

/** listen(2). */
function reason({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case "EADDRINUSE":
      return "it is in use by another program. Stop that program, or set another port (0 for a free one).";
    case "EACCES":
      return "this user may not. Set a port from 1024 up, or give the program the right (CAP_NET_BIND_SERVICE).";
    case "EADDRNOTAVAIL":
      return "it is no address of this machine. Set one that is, or a port alone for all addresses.";
    default:
      return message;
  }
}
