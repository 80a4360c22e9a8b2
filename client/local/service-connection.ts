import type { Socket } from "node:net";
import { AnswerReader, type AnswerSink } from "./answer-reader.ts";
import { type DialOptions, dialTarget } from "./dial-target.ts";
import { readingInPlace } from "./read-buffer.ts";
import type { ServiceTls } from "./service-tls.ts";
import type { ServiceSocket } from "./service-socket.ts";

/** Who has a connection for an exchange. Behind the last three calls, and `answered`, there are no more. */
export interface ConnectionUser extends AnswerSink {
  /** The answer is whole. `lost` may follow, as long as the connection is not given back. */
  answered(trailers: Buffer | undefined): void;
  /** Behind a head that switches: what has come of the other protocol. */
  switched(early: Buffer): void;
  /** The answer breaks HTTP. */
  broken(fault: string, bytes: Buffer): void;
  /** The connection is over; with no error where the service has ended it. */
  lost(error?: NodeJS.ErrnoException): void;
}

/** Who has the connections that nobody uses. */
export interface ConnectionOwner {
  /** The connection can take another exchange. */
  release(connection: ServiceConnection): void;
  /** The connection is closed. */
  forget(connection: ServiceConnection): void;
}

/**
 * A connection to a local service; carries one exchange at a time. What listens to the socket is made once, and not for each
 * exchange. Whatever the service says while nobody asks ends the connection, so that no stray byte is taken for
 * a later answer.
 */
export class ServiceConnection {
  readonly socket: ServiceSocket;
  /** By which its service has proven itself, and under which name; undefined without TLS. */
  readonly tls: ServiceTls | undefined;
  /** Whether it has served an exchange before. */
  reused = false;
  /** How long it may lie idle behind the last exchange. */
  idleMs = 0;
  /** Until when, by `performance.now()`; 0 while it is not idle. */
  idleUntilMs = 0;
  /** A request that takes idle connections has had it. */
  mayCrowd = false;
  /** A sign-in that is tied to the connection has passed, or begun: it never serves another visitor. */
  signedIn = false;
  /** Whose it is, by the number of the visitor's connection; 0: nobody's. */
  boundTo = 0;

  #owner: ConnectionOwner;
  readonly #onData = (bytes: Buffer) => this.#received(bytes);
  #user: ConnectionUser | undefined;
  /** Of the answer to the exchange under way. */
  #reader: AnswerReader | undefined;
  #detached = false;

  /** Starts connecting. */
  constructor(options: DialOptions, owner: ConnectionOwner) {
    this.#owner = owner;
    this.tls = options.tls;
    // What switches to another protocol is read by whoever speaks that.
    const inPlace = !options.tls && !options.allowHalfOpen;
    this.socket = dialTarget(inPlace ? { ...options, onread: readingInPlace(this.#onData) } : options);
    if (!inPlace) this.socket.on("data", this.#onData);
    this.socket.on("error", (error) => this.#user?.lost(error));
    this.socket.on("end", () => this.#ended());
    this.socket.on("close", () => {
      this.#user?.lost();
      this.#owner.forget(this);
    });
  }

  /** Whether it can take an exchange. */
  get usable(): boolean {
    const { destroyed, writable, readable } = this.socket;
    return !destroyed && writable && readable;
  }

  /** Whether nothing of an answer has come. */
  get silent(): boolean {
    return !this.#reader?.begun;
  }

  /** Only this visitor gets it from now on. */
  bindTo(visitor: number, owner: ConnectionOwner): void {
    this.boundTo = visitor;
    this.#owner = owner;
  }

  /** Begins an exchange: its request is for the user to write. */
  begin(user: ConnectionUser, method: string): void {
    this.#user = user;
    this.#reader = new AnswerReader(method, user);
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    if (this.socket.isPaused()) this.socket.resume();
  }

  /**
   * Ends the exchange, behind its answer.
   * @param idleMs how long the connection may lie idle; 0: no other exchange may follow
   */
  release(idleMs: number): void {
    this.#user = undefined;
    this.#reader = undefined;
    this.reused = true;
    // What still waits to be written would hold up the next request.
    if (idleMs === 0 || !this.usable || this.socket.writableLength > 0) {
      this.socket.destroySoon();
      return;
    }
    this.idleMs = idleMs;
    this.resume();
    this.#owner.release(this);
  }

  /** Ends everything, whatever is under way. */
  destroy(): void {
    this.#user = undefined;
    this.#reader?.stop();
    this.socket.destroy();
  }

  /** Gives the socket away, half-closes and all, to whoever reads its "data" from now on. */
  detach(): Socket {
    this.#user = undefined;
    this.#detached = true;
    this.#owner.forget(this);
    this.socket.off("data", this.#onData);
    this.socket.allowHalfOpen = true;
    return this.socket;
  }

  #received(bytes: Buffer): void {
    // Only of a socket that is read in place: all others have another reader now.
    if (this.#detached) return void this.socket.emit("data", bytes);
    const user = this.#user;
    const reader = this.#reader;
    if (!user || reader?.state !== "reading") return this.#saidTooMuch();
    const length = reader.push(bytes);
    const state = reader.state as AnswerReader["state"];
    if (state === "whole") {
      user.answered(reader.trailers);
      if (length < bytes.length) this.#saidTooMuch();
    } else if (state === "switched") user.switched(bytes.subarray(length));
    else if (state === "broken") user.broken(reader.fault, bytes);
  }

  /** More than its answer. */
  #saidTooMuch(): void {
    const user = this.#user;
    this.destroy();
    user?.lost();
  }

  #ended(): void {
    // TLS that is ended within its handshake: the error follows.
    if (this.socket.destroyed) return;
    // One that was made to be half-closed would stay so.
    if (this.idleUntilMs > 0) this.socket.destroy();
    // Behind a write that failed it may be the system's end, and not the service's.
    else if (!this.socket.writeFailed && this.#reader?.end()) this.#user?.answered(undefined);
    else this.#user?.lost();
  }
}
