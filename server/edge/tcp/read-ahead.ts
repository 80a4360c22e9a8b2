import type { Socket } from "node:net";

/** What node keeps to itself of a socket; a test says when a release takes it away. */
interface Internals {
  readonly _handle: { reading: boolean; readStop(): number } | null;
  readonly _readableState: { highWaterMark: number };
}

/**
 * Has a visitor's socket read no further once it is paused. By itself node reads on, up to 128 KiB, in chunks as small as they
 * come: 64 KiB in chunks of one byte take 35 MB, and nothing says how many there are.
 *
 * Most pauses are over in the same turn, and to stop and start reading at each costs system calls. So it stops behind the turn,
 * and the one chunk that may have come until then is handed on as "data"; it stops at once only under pressure.
 */
export function boundReadAhead(socket: Socket, isPressed: () => boolean): void {
  const { _readableState } = socket as unknown as Internals;
  // With more a paused socket would start to read again.
  _readableState.highWaterMark = 0;
  const pause = socket.pause.bind(socket);
  let looksSoon = false;
  const turnOver = (): void => {
    looksSoon = false;
    if (!socket.isPaused()) return;
    stopReading(socket);
    if (socket.readableLength > 0 && socket.listenerCount("data") > 0) socket.read();
  };
  socket.pause = () => {
    pause();
    if (isPressed()) stopReading(socket);
    else if (!looksSoon) {
      looksSoon = true;
      setImmediate(turnOver);
    }
    return socket;
  };
}

/** Stops reading now, which a paused socket would do later. */
export function stopReading(socket: Socket): void {
  const { _handle } = socket as unknown as Internals;
  if (!_handle?.reading) return;
  _handle.reading = false;
  _handle.readStop();
}
