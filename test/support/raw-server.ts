import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { ChunkReader } from "../../link/chunks.ts";
import { linkService, type WireBatch } from "../../link/contract.ts";
import type { Control, Hello, Tunnel, Welcome } from "../../link/messages.ts";
import { Heard } from "./heard.ts";

/** One call of a client, as the hand-played server sees it. */
export class RawCall {
  readonly heard = new Heard();
  /** Resolves when the client has ended or cut the call. */
  readonly over: Promise<void>;
  readonly call: ServerDuplexStream<WireBatch, WireBatch>;

  constructor(call: ServerDuplexStream<WireBatch, WireBatch>) {
    this.call = call;
    const chunks = new ChunkReader((stream, flags, payload) => this.heard.chunk({ stream, flags, payload }));
    call.on("data", (batch: WireBatch) => {
      for (const control of batch.control) this.heard.control(control);
      chunks.push(batch.data);
    });
    call.on("error", () => {});
    this.over = new Promise((resolve) => {
      call.on("end", () => {
        call.end();
        resolve();
      });
      call.on("cancelled", resolve);
    });
  }

  /** Sends one batch, right or wrong. */
  say(control: Control[], data: Buffer = Buffer.alloc(0)): void {
    this.call.write({ control, data });
  }
}

/** A server of the contract that is played by hand, over gRPC without TLS. */
export class RawServer implements AsyncDisposable {
  readonly port: number;
  readonly calls: RawCall[] = [];
  readonly #server: Server;
  readonly #waiting = new Set<() => void>();

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** `greet` answers each Hello; the number counts the calls from 1. */
  static async start(greet: (call: RawCall, hello: Hello, number: number) => void): Promise<RawServer> {
    const server = new Server({ "grpc.max_send_message_length": -1 });
    let self: RawServer | undefined;
    server.addService(linkService, {
      Connect(call: ServerDuplexStream<WireBatch, WireBatch>) {
        const raw = new RawCall(call);
        self!.calls.push(raw);
        const number = self!.calls.length;
        for (const look of self!.#waiting) look();
        void raw.heard.message("hello").then(({ hello }) => greet(raw, hello, number));
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    self = new RawServer(server, port);
    return self;
  }

  /** Resolves at the `count`th call. */
  call(count: number): Promise<RawCall> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.calls.length < count) return;
        this.#waiting.delete(look);
        resolve(this.calls[count - 1]!);
      };
      this.#waiting.add(look);
      look();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    return Promise.resolve();
  }
}

export function welcome(tunnels: Partial<Tunnel>[], more: Partial<Welcome> = {}): Control {
  return {
    message: "welcome",
    welcome: {
      protocol: 1,
      sessionToken: "token",
      version: "0",
      connections: 1,
      tunnels: tunnels.map((tunnel, index) => ({
        id: index + 1,
        name: "app",
        kind: "HTTP",
        url: "http://app.localhost/",
        target: "",
        ...tunnel,
      })),
      streamCredit: 256 * 1024,
      ...more,
    },
  };
}
