import type { Http2Stream } from "node:http2";

/** What node keeps to itself of a socket; a test says when a release takes it away. */
interface HasHandle {
  readonly _handle?: { readStart?(): number } | null;
}

/**
 * Reads on what lies beneath the stream. Node's HTTP/2 stops reading while one of its writes is under way
 * (nodejs/node#29399), so two ends that both have more to write than the system takes would wait for each other without end;
 * and over TLS a write that meets a reset is never reported, so that nobody would hear of it either.
 */
export function readOn(stream: Http2Stream): void {
  const socket = stream.session?.socket as HasHandle | undefined;
  socket?._handle?.readStart?.();
}
