import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** What a connection does; one that throws because it was cut is over, and nobody minds. */
export type Script = (connection: RawConnection, index: number) => Promise<void> | void;

/** A local service made by hand: every byte that it gets is recorded, every byte that it sends is the test's. */
export class RawBackend implements AsyncDisposable {
  readonly connections: RawConnection[] = [];
  readonly #server: Server;
  /** Where it listens; where it has listened while it is down. */
  target: { host: string; port: number };
  readonly #waiting: (() => void)[] = [];

  private constructor(script: Script, host: string) {
    this.target = { host, port: 0 };
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      const connection = new RawConnection(socket);
      const index = this.connections.push(connection) - 1;
      void run(script, connection, index);
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  static async start(script: Script = () => {}, host = "127.0.0.1"): Promise<RawBackend> {
    const backend = new RawBackend(script, host);
    await backend.up();
    return backend;
  }

  /** Answers every request of every connection alike. */
  static answering(answer: string | Buffer): Promise<RawBackend> {
    return RawBackend.start(async (connection) => {
      for (;;) {
        await connection.head();
        await connection.send(answer);
      }
    });
  }

  get open(): number {
    return this.connections.filter(({ socket }) => !socket.destroyed).length;
  }

  /** Nothing listens any more; open connections stay. */
  async down(): Promise<void> {
    this.#server.close();
    // "close" would wait for the connections; the port is free at once.
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Listens again where it listened. */
  async up(): Promise<void> {
    if (this.#server.listening) return;
    this.#server.listen(this.target.port, this.target.host);
    await once(this.#server, "listening");
    const { address, port } = this.#server.address() as AddressInfo;
    this.target = { host: address, port };
  }

  async connection(index: number): Promise<RawConnection> {
    while (this.connections.length <= index)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.connections[index]!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.connections) socket.destroy();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** The other end has gone, or the test has ended the connection. */
export class ConnectionOver extends Error {
  override readonly name = "ConnectionOver";

  constructor(cause?: Error) {
    super("the connection is over", { cause });
  }
}

export class RawConnection {
  readonly socket: Socket;
  receivedBytes = 0;
  /** A 101 has been sent. */
  switched = false;
  /** The other end's FIN has come. */
  ended = false;
  /** How the connection ended, once it has. */
  closedBy: "end" | "reset" | undefined;
  #received: Buffer = Buffer.alloc(0);
  #fresh: Buffer[] = [];
  #at = 0;
  #keeping = true;
  readonly #waiting = new Set<() => void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => {
      this.receivedBytes += chunk.length;
      if (this.#keeping) this.#fresh.push(chunk);
      this.#wake();
    });
    socket.on("end", () => {
      this.ended = true;
      this.#wake();
    });
    socket.on("error", () => {
      this.closedBy = "reset";
    });
    socket.on("close", () => {
      this.closedBy ??= "end";
      this.#wake();
    });
  }

  /** All that has been kept. */
  get received(): Buffer {
    if (this.#fresh.length > 0) this.#received = Buffer.concat([this.#received, ...this.#fresh.splice(0)]);
    return this.#received;
  }

  get text(): string {
    return this.received.toString("latin1");
  }

  /** The next request head, with its empty line. */
  head(): Promise<string> {
    return this.takeUntil("\r\n\r\n");
  }

  /** What has come since the last call, up to and with `mark`. */
  async takeUntil(mark: string): Promise<string> {
    const start = this.#at;
    await this.until(() => this.received.indexOf(mark, start, "latin1") >= 0);
    this.#at = this.received.indexOf(mark, start, "latin1") + mark.length;
    return this.received.toString("latin1", start, this.#at);
  }

  async take(bytes: number): Promise<Buffer> {
    const start = this.#at;
    await this.until(() => this.receivedBytes >= start + bytes);
    this.#at = start + bytes;
    return this.received.subarray(start, this.#at);
  }

  /** What is taken next begins so many bytes behind the connection's start. */
  skipTo(bytes: number): void {
    this.#at = bytes;
  }

  /** The body of a chunked request, with its last chunk and trailer section. */
  chunkedBody(): Promise<string> {
    return this.takeUntil("0\r\n\r\n");
  }

  /** Bytes count from now on, and are not kept. */
  count(): void {
    this.#keeping = false;
  }

  /** Each piece on its way before the next. */
  async send(...pieces: (string | Buffer)[]): Promise<void> {
    for (const piece of pieces) {
      if (typeof piece === "string" && /(?:^|\r\n\r\n)HTTP\/1\.1 101 /.test(piece)) this.switched = true;
      await new Promise<void>((resolve, reject) => {
        this.socket.write(Buffer.from(piece as string, "latin1"), (error) =>
          error ? reject(new ConnectionOver(error)) : resolve(),
        );
      });
    }
  }

  end(): void {
    this.socket.end();
  }

  /** Closes at once, by FIN if all has been read. */
  close(): void {
    this.socket.destroy();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Waits for the other end's FIN. */
  async untilEnded(): Promise<void> {
    await this.until(() => this.ended);
  }

  /** Waits until the connection is over, and says how. */
  async untilClosed(): Promise<"end" | "reset"> {
    if (this.closedBy === undefined || !this.socket.destroyed) {
      await new Promise<void>((resolve) => this.#onWake(() => this.socket.destroyed || this.ended, resolve));
      if (!this.socket.destroyed) this.socket.end();
      await new Promise<void>((resolve) => this.#onWake(() => this.socket.closed, resolve));
    }
    return this.closedBy ?? "end";
  }

  async untilReceived(bytes: number): Promise<void> {
    await this.until(() => this.receivedBytes >= bytes);
  }

  /** Resolves when the condition holds, which is looked at whenever something comes or ends. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#onWake(
        () => condition() || this.socket.destroyed,
        () => (condition() ? resolve() : reject(new ConnectionOver())),
      );
    });
  }

  #onWake(condition: () => boolean, done: () => void): void {
    const check = () => {
      if (!condition()) return;
      this.#waiting.delete(check);
      done();
    };
    this.#waiting.add(check);
    check();
  }

  #wake(): void {
    for (const check of this.#waiting) check();
  }
}

async function run(script: Script, connection: RawConnection, index: number): Promise<void> {
  try {
    await script(connection, index);
  } catch {
    // Cut while the script waited or wrote: the test looks at the other end.
  }
}
