import type { ServerDuplexStream } from "@grpc/grpc-js";
import { DirectCarrier } from "../../link/direct-carrier.ts";
import type { TcpConnection } from "./tcp-connection.ts";

/** The carrier of a client's call. */
export class CallCarrier extends DirectCarrier {
  readonly #connection: TcpConnection | undefined;

  constructor(
    call: ServerDuplexStream<Buffer, Buffer>,
    connection: TcpConnection | undefined,
    direct?: boolean,
  ) {
    // A call has no way to end at once while the other end does not read; its TCP connection does.
    super(call, () => (connection ? connection.cut() : call.end()), direct);
    this.#connection = connection;
  }

  /**
   * Also cuts the connection if it brings more than this before `trust`: grpc-js collects a message of up to 4 MiB before anyone
   * sees it, and with thousands of calls that would be all the memory there is.
   */
  override distrust(maxBytes: number): void {
    super.distrust(maxBytes);
    this.#connection?.distrust(maxBytes);
  }

  /** Who calls has shown a key. `false`: there is no room for one more client. */
  becomeClient(): boolean {
    return this.#connection?.becomeClient() ?? true;
  }

  cutWithin(ms: number): void {
    this.#connection?.cutWithin(ms);
  }

  /** It is known who calls; it stays so for this connection. */
  override trust(): void {
    super.trust();
    this.#connection?.distrust(Infinity);
  }
}
