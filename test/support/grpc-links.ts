import { connect } from "../../client/connection/connect.ts";
import { spkiPin } from "../../link/access-key.ts";
import { INITIAL_WINDOW_BYTES } from "../../link/credit.ts";
import type { TunnelError } from "../../link/errors.ts";
import { Link, type LinkHandler } from "../../link/link.ts";
import type { Open, SessionMessage } from "../../link/messages.ts";
import type { LinkStream } from "../../link/stream.ts";
import { UnreadBudget } from "../../link/unread-budget.ts";
import type { CallCarrier } from "../../server/grpc/call-carrier.ts";
import { startGrpcServer } from "../../server/grpc/grpc-server.ts";
import { makeCertificate } from "./certificates.ts";
import { openRequest } from "./link-pair.ts";
import { RecordingHandler, type RecordingOptions } from "./recording-handler.ts";
import { Relay } from "./relay.ts";

/** One end of a link over gRPC, with what it was told. */
export class GrpcEnd implements LinkHandler {
  link!: Link;
  /** For tests that send what a link would not; of the server's ends only. */
  carrier: CallCarrier | undefined;
  readonly messages: SessionMessage[] = [];
  /** Set when the link is over; `error` is undefined for a clean end. */
  over: { error: TunnelError | undefined } | undefined;
  /** Takes a stream that the other end opened. */
  onOpened: (stream: LinkStream, open: Open) => void = (stream) => void RecordingHandler.on(stream);
  onMessage: ((message: SessionMessage) => void) | undefined;
  #waiting: (() => void)[] = [];

  opened(stream: LinkStream, open: Open): void {
    this.onOpened(stream, open);
  }

  message(message: SessionMessage): void {
    this.messages.push(message);
    this.onMessage?.(message);
  }

  closed(error?: TunnelError): void {
    this.over = { error };
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Why the link ended: an error's code, or undefined for a clean end. */
  async ended(): Promise<string | undefined> {
    if (!this.over) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.over?.error?.code;
  }

  /** Opens a stream that records what it hears. */
  open(recording: RecordingOptions = {}): { stream: LinkStream; handler: RecordingHandler } {
    const handler = new RecordingHandler(recording);
    const stream = this.link.open(openRequest(), handler);
    handler.stream = stream;
    return { stream, handler };
  }
}

/** A link over a real connection: the server's gRPC port, the client's dialling, a relay between them. */
export interface GrpcLinks extends AsyncDisposable {
  server: GrpcEnd;
  client: GrpcEnd;
  relay: Relay;
  /** The server's, past the relay. */
  port: number;
  /** Which ends have gone beneath grpc-js. */
  direct: { server: boolean; client: boolean };
  /** The server's end of the next connection that somebody makes. */
  nextServerEnd(): Promise<GrpcEnd>;
}

export interface GrpcLinksOptions {
  tls?: boolean;
  /** Which ends go beneath grpc-js; both if left out. */
  direct?: { server: boolean; client: boolean };
}

export async function grpcLinks({
  tls = false,
  direct = { server: true, client: true },
}: GrpcLinksOptions): Promise<GrpcLinks> {
  const certificate = tls ? await makeCertificate() : undefined;
  const serverEnds: GrpcEnd[] = [];
  let onServerEnd = (_end: GrpcEnd): void => {};
  const grpc = await startGrpcServer({
    host: "127.0.0.1",
    port: 0,
    certificate,
    direct: direct.server,
    onConnection(carrier) {
      const end = new GrpcEnd();
      serverEnds.push(end);
      end.carrier = carrier;
      end.link = new Link({ carrier, side: "server", handler: end });
      end.link.peerStreamCredit = INITIAL_WINDOW_BYTES;
      end.onMessage = (message) => {
        if (message.message === "hello") welcome(end.link);
      };
      onServerEnd(end);
    },
  });
  const relay = await Relay.to(grpc.port);
  const client = new GrpcEnd();
  const cut = new AbortController();
  const connection = await connect({
    unreadBudget: new UnreadBudget(),
    server: {
      key: {
        keyId: Buffer.alloc(8),
        secret: Buffer.alloc(16),
        host: "127.0.0.1",
        port: relay.port,
        ...(certificate && { pin: spkiPin(certificate.cert) }),
      },
      plaintext: !tls,
    },
    clientId: "test",
    sessionToken: "",
    wanted: [],
    direct: direct.client,
    handler: client,
    signal: cut.signal,
  });
  const { link } = connection;
  client.link = link;
  return {
    server: serverEnds[0]!,
    client,
    relay,
    port: grpc.port,
    direct: { server: serverEnds[0]!.carrier!.direct, client: connection.direct },
    nextServerEnd: () => new Promise((resolve) => (onServerEnd = resolve)),
    async [Symbol.asyncDispose]() {
      link.close();
      for (const end of serverEnds) end.link.close();
      await relay[Symbol.asyncDispose]();
      grpc.close();
    },
  };
}

function welcome(link: Link): void {
  link.say({
    message: "welcome",
    welcome: {
      protocol: 1,
      sessionToken: "t",
      version: "0",
      connections: 1,
      tunnels: [],
      streamCredit: INITIAL_WINDOW_BYTES,
    },
  });
}
