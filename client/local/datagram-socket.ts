import { createSocket, type Socket } from "node:dgram";
import type { LookupAddress } from "node:dns";
import { isIP } from "node:net";
import { type DatagramBudget, DatagramQueue } from "../../link/datagram-queue.ts";
import type { Target } from "../../link/target.ts";
import { descriptorLimit } from "../../runtime/descriptors.ts";
import { allowedAddresses } from "./allowed-addresses.ts";
import type { Resolve } from "../../runtime/name-lookup.ts";
import type { Consent } from "./consent.ts";
import { noDatagrams, noDescriptor } from "./dial-failure.ts";

/** What may wait for the system to take it: as much as one stream's queue on the link. */
const UNSENT_BYTES = 1024 * 1024;
/** For bursts that come while the event loop is busy; the system may allow less (net.core.rmem_max, wmem_max). */
const BUFFER_BYTES = 1024 * 1024;

/**
 * Of all in this process: anyone can make up addresses, and a flood from 10,000 of them must leave descriptors to the other
 * tunnels and to the link.
 */
const MAX_SOCKETS = Math.min(16_384, Math.floor(descriptorLimit() / 2));
let sockets = 0;

/** Told of nothing any more once the socket is closed. */
export interface DatagramListener {
  /** The service has an address; whether it is there nobody knows yet. */
  connected(): void;
  received(datagram: Buffer): void;
  /** A datagram that `send` took will not arrive. */
  dropped(): void;
  /** Nothing reaches the service (see `datagramFailure`); the socket is closed. */
  failed(error: NodeJS.ErrnoException): void;
}

/**
 * A socket to a local service that takes datagrams, by consent. Of a name with several addresses those that refuse datagrams
 * before any answer came are left for the next one, which gets what was sent so far: so `localhost` is found on ::1 and on
 * 127.0.0.1.
 */
export class DatagramSocket {
  readonly #listener: DatagramListener;
  /** What goes to the address that is dialled next. */
  readonly #waiting: DatagramQueue;
  #port = 0;
  /** That have not been tried. */
  #addresses: LookupAddress[] = [];
  #socket: Socket | undefined;
  #connected = false;
  #counted = false;
  #closed = false;

  constructor(options: {
    target: Target;
    consent: Consent;
    resolve?: Resolve | undefined;
    /** Bounds what waits for an address. */
    budget: DatagramBudget;
    listener: DatagramListener;
  }) {
    const { target, listener, budget, ...consent } = options;
    this.#listener = listener;
    this.#waiting = new DatagramQueue(budget);
    if ("path" in target) {
      process.nextTick(() => this.#fail(noDatagrams(target)));
      return;
    }
    if (sockets >= MAX_SOCKETS) {
      process.nextTick(() => this.#fail(noDescriptor(MAX_SOCKETS)));
      return;
    }
    sockets++;
    this.#counted = true;
    this.#port = target.port;
    allowedAddresses({ target, ...consent }, (error, addresses) => {
      if (error) return this.#fail(error);
      this.#addresses = addresses;
      this.#dialNext();
    });
  }

  /** `false`: it was dropped, since too much waits. */
  send(datagram: Buffer): boolean {
    if (this.#closed) return false;
    if (!this.#connected) return this.#waiting.push(datagram);
    if (this.#addresses.length > 0) this.#waiting.push(datagram);
    return this.#send(datagram);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#counted) sockets--;
    this.#waiting.clear();
    this.#socket?.close();
  }

  #dialNext(): void {
    if (this.#closed) return;
    const { address, family } = this.#addresses.shift()!;
    const socket = createSocket({ type: family === 6 ? "udp6" : "udp4", lookup: noLookup });
    this.#socket = socket;
    this.#connected = false;
    socket.on("error", (error) => this.#lost(socket, error));
    socket.on("message", (datagram) => this.#received(datagram));
    socket.connect(this.#port, address, () => this.#began(socket));
  }

  #began(socket: Socket): void {
    if (this.#closed || this.#socket !== socket) return;
    enlargeBuffers(socket);
    this.#connected = true;
    this.#listener.connected();
    const last = this.#addresses.length === 0;
    for (const datagram of this.#waiting) {
      if (!this.#send(datagram)) this.#listener.dropped();
    }
    if (last) this.#waiting.clear();
  }

  #received(datagram: Buffer): void {
    if (this.#closed) return;
    this.#addresses = [];
    this.#waiting.clear();
    this.#listener.received(datagram);
  }

  #send(datagram: Buffer): boolean {
    const socket = this.#socket!;
    if (socket.getSendQueueSize() > UNSENT_BYTES) return false;
    socket.send(datagram, (error) => error && this.#unsent(socket, error));
    return true;
  }

  #unsent(socket: Socket, error: NodeJS.ErrnoException): void {
    // Of one that was sent before: this one has not even left.
    if (error.code === "ECONNREFUSED") return this.#lost(socket, error);
    if (!this.#closed) this.#listener.dropped();
  }

  #lost(socket: Socket, error: NodeJS.ErrnoException): void {
    if (this.#closed || this.#socket !== socket) return;
    if (this.#addresses.length === 0) return this.#fail(error);
    socket.close();
    this.#dialNext();
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (this.#closed) return;
    this.close();
    this.#listener.failed(error);
  }
}

/** It is given addresses only; Node's own answers a turn later. */
function noLookup(
  address: string,
  _options: unknown,
  callback: (error: null, address: string, family: number) => void,
): void {
  callback(null, address, isIP(address));
}

function enlargeBuffers(socket: Socket): void {
  try {
    socket.setRecvBufferSize(BUFFER_BYTES);
    socket.setSendBufferSize(BUFFER_BYTES);
  } catch {
    // Not every system cuts what it does not allow; then it keeps its own.
  }
}
