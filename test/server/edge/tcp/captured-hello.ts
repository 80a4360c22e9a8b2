import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";

/** What a TLS client of node's sends before it hears anything: its ClientHello. */
export async function helloOfNode(options: ConnectionOptions = {}): Promise<Buffer> {
  await using listener = await Listener.start();
  const client = clientAt(listener.port, options);
  client.on("error", () => {
    // It is ended before it has had an answer.
  });
  const hello = await listener.firstFlight();
  client.destroy();
  return hello;
}

/** What `openssl s_client` sends before it hears anything. */
export async function helloOfOpenssl(...options: string[]): Promise<Buffer> {
  await using listener = await Listener.start();
  const args = ["s_client", "-connect", `127.0.0.1:${listener.port}`, ...options];
  const client = spawn("openssl", args, { stdio: ["pipe", "ignore", "ignore"] });
  const ended = once(client, "exit");
  const hello = await listener.firstFlight();
  client.kill();
  await ended;
  return hello;
}

/** The error that a TLS client of node's ends with when this is the answer to its hello. */
export async function errorAfter(
  answer: Buffer,
  options: ConnectionOptions = {},
): Promise<NodeJS.ErrnoException> {
  await using listener = await Listener.start();
  const client = clientAt(listener.port, options);
  const failed = once(client, "error") as Promise<[NodeJS.ErrnoException]>;
  await listener.firstFlight();
  listener.answer(answer);
  const [error] = await failed;
  return error;
}

function clientAt(port: number, options: ConnectionOptions): TLSSocket {
  return connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
}

/** Takes one connection, and says nothing by itself. */
class Listener implements AsyncDisposable {
  readonly #server: Server;
  readonly #connected: Promise<[Socket]>;
  #socket: Socket | undefined;

  private constructor(server: Server) {
    this.#server = server;
    this.#connected = once(server, "connection") as Promise<[Socket]>;
  }

  static async start(): Promise<Listener> {
    const listener = new Listener(createServer());
    listener.#server.listen(0, "127.0.0.1");
    await once(listener.#server, "listening");
    return listener;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** All records up to the end of the first message in them. */
  async firstFlight(): Promise<Buffer> {
    [this.#socket] = await this.#connected;
    let bytes = Buffer.alloc(0);
    for await (const piece of this.#socket.iterator({ destroyOnReturn: false })) {
      bytes = Buffer.concat([bytes, piece as Buffer]);
      if (isWhole(bytes)) return bytes;
    }
    throw new Error("the client left in its hello");
  }

  answer(bytes: Buffer): void {
    this.#socket!.end(bytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket?.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

function isWhole(bytes: Buffer): boolean {
  const message = messageOf(bytes);
  return message.length >= 4 && message.length === 4 + message.readUIntBE(1, 3);
}

/** What a run of records holds. */
export function messageOf(records: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 5 <= records.length; at += 5 + records.readUInt16BE(at + 3)) {
    pieces.push(records.subarray(at + 5, at + 5 + records.readUInt16BE(at + 3)));
  }
  return Buffer.concat(pieces);
}

/** A message in records that hold at most so many bytes each. */
export function inRecords(message: Buffer, mostBytes: number | (() => number) = 2 ** 14): Buffer {
  const records: Buffer[] = [];
  for (let at = 0; at < message.length;) {
    const piece = message.subarray(at, at + (typeof mostBytes === "number" ? mostBytes : mostBytes()));
    records.push(Buffer.from([22, 3, 1, piece.length >> 8, piece.length & 0xff]), piece);
    at += piece.length;
  }
  return Buffer.concat(records);
}
