import type { Socket } from "node:net";
import * as grpc from "@grpc/grpc-js";
import { ConnectionClosed } from "./connect-trouble.ts";
import { passProxy, type HttpProxy } from "./http-proxy.ts";
import { secure, type ServerIdentity } from "./server-identity.ts";

/** What a connection must go through before anything is said on it. */
export interface Way {
  /** The server, "host:port". */
  where: string;
  /** Asked first, if there is one: the address that is dialled is then the proxy's. */
  proxy: HttpProxy | undefined;
  /** `undefined`: the server is meant to speak without TLS. */
  identity: ServerIdentity | undefined;
}

/** Credentials for a channel whose every connection goes this way. */
export class WayCredentials extends grpc.ChannelCredentials {
  readonly #way: Way;

  constructor(way: Way) {
    super();
    this.#way = way;
  }

  override _isSecure(): boolean {
    return this.#way.identity !== undefined;
  }

  override _equals(other: grpc.ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    ...[, , callCredentials]: Parameters<grpc.ChannelCredentials["_createSecureConnector"]>
  ): ReturnType<grpc.ChannelCredentials["_createSecureConnector"]> {
    const { where, proxy, identity } = this.#way;
    const unproven = new Set<Socket>();
    return {
      connect: async (socket) => {
        unproven.add(socket);
        try {
          if (proxy) await passProxy(socket, proxy, where);
          return {
            socket: identity ? await secure(socket, identity) : socket,
            secure: identity !== undefined,
          };
        } finally {
          unproven.delete(socket);
        }
      },
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials ?? grpc.CallCredentials.createEmpty(),
      // Called when the channel is closed: grpc-js leaves a connection that is not ready yet to whoever makes it so.
      destroy: () => {
        for (const socket of unproven) socket.destroy(new ConnectionClosed());
      },
    };
  }
}
