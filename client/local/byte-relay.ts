import type { Open } from "../../link/messages.ts";
import { joinSocket } from "../../link/join-socket.ts";
import type { LinkStream } from "../../link/stream.ts";
import { dialFailure } from "./dial-failure.ts";
import type { LocalService } from "./local-service.ts";

/** How a connection to a local service, or an exchange of datagrams, ended, for a line of the log. */
export interface RelayOutcome {
  /** Toward the local service, and from it. */
  bytesIn: number;
  bytesOut: number;
  /** Of kind UDP. */
  datagramsIn?: number;
  datagramsOut?: number;
  /** Datagrams for which there was no room; left out if there were none. */
  dropped?: number | undefined;
  /** Why it did not end by itself. */
  failure?: string | undefined;
  detail?: string | undefined;
}

const NOTHING = Buffer.alloc(0);
/** A service that vanished without a word is noticed, be the connection ever so quiet. */
const KEEP_ALIVE_MS = 60_000;

/** Carries a stream's bytes to a local service and back, whatever they are. */
export function relayBytes(
  stream: LinkStream,
  open: Open,
  { service, finished }: { service: LocalService; finished: (outcome: RelayOutcome) => void },
): void {
  const socket = service.dial(open.portOffset ?? 0);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  const { target } = service;
  let failure: Pick<RelayOutcome, "failure" | "detail"> = {};
  // Ahead of those that join the two: why dialling failed is for both ends to know.
  socket.once("error", (error) => {
    const dialled = dialFailure(error, target);
    if (!dialled) return;
    failure = { failure: dialled.code, detail: dialled.detail };
    stream.reset(dialled.code, dialled.publicDetail);
  });
  socket.once("connect", () => stream.accept(NOTHING));
  socket.once("close", () =>
    finished({ bytesIn: socket.bytesWritten, bytesOut: socket.bytesRead, ...failure }),
  );
  if (open.head.length > 0) socket.write(open.head);
  joinSocket(stream, socket, {
    closed: (lost) => {
      if (lost && failure.failure === undefined) failure = { failure: lost.code, detail: lost.detail };
    },
  });
}
