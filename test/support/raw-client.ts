import { Client, credentials, type ClientDuplexStream, type StatusObject } from "@grpc/grpc-js";
import { decodeAccessKey } from "../../link/access-key.ts";
import { ChunkReader } from "../../link/chunks.ts";
import { linkService, type WireBatch } from "../../link/contract.ts";
import type { Control, Hello, Open, TunnelRequest, Welcome } from "../../link/messages.ts";
import { Heard } from "./heard.ts";

/** A client of the contract that is played by hand, over a real gRPC call without TLS. */
export class RawClient implements Disposable {
  readonly heard = new Heard();
  /** How the call ended. */
  readonly over: Promise<StatusObject>;
  readonly call: ClientDuplexStream<WireBatch, WireBatch>;
  readonly #client: Client;

  constructor(port: number, host = "127.0.0.1") {
    this.#client = new Client(`${host}:${port}`, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0,
      "grpc.max_send_message_length": -1,
    });
    const { path, requestSerialize, responseDeserialize } = linkService.Connect;
    this.call = this.#client.makeBidiStreamRequest<WireBatch, WireBatch>(
      path,
      requestSerialize,
      responseDeserialize,
    );
    this.call.on("error", () => {});
    const chunks = new ChunkReader((stream, flags, payload) => this.heard.chunk({ stream, flags, payload }));
    this.call.on("data", (batch: WireBatch) => {
      for (const control of batch.control) this.heard.control(control);
      chunks.push(batch.data);
    });
    this.over = new Promise((resolve) => this.call.on("status", resolve));
  }

  /** Sends one batch, right or wrong. */
  say(control: Control[], data: Buffer = Buffer.alloc(0)): void {
    this.call.write({ control, data });
  }

  hello(token: string, more: Partial<Hello> = {}): this {
    this.say([helloOf(token, more)]);
    return this;
  }

  async welcomed(): Promise<Welcome> {
    const control = await this.heard.message("welcome");
    return control.welcome;
  }

  async opened(count = 1): Promise<Open> {
    const control = await this.heard.message("open", count);
    return control.open;
  }

  [Symbol.dispose](): void {
    this.call.cancel();
    this.#client.close();
  }
}

/** A Hello as the real client says it. */
export function helloOf(token: string, more: Partial<Hello> = {}): Control {
  const { keyId, secret } = decodeAccessKey(token);
  const hello: Hello = {
    protocolMin: 1,
    protocolMax: 1,
    keyId,
    secret,
    clientId: "played-by-hand",
    version: "0",
    sessionToken: "",
    wanted: [],
    streamCredit: 256 * 1024,
    ...more,
  };
  return { message: "hello", hello };
}

export function wanted(subdomain: string, more: Partial<TunnelRequest> = {}): TunnelRequest {
  return {
    name: subdomain,
    kind: "HTTP",
    hostname: "",
    subdomain,
    target: "127.0.0.1:1",
    hostHeader: "",
    timeoutMs: 0,
    ...more,
  };
}
