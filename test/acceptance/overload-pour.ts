import type { Socket } from "node:net";

const BLOCK = Buffer.alloc(64 * 1024);

/** Writes without end, as fast as it is taken and no faster. @param onWritten told of each part's length */
export function pour(socket: Socket, onWritten: (bytes: number) => void = () => {}): void {
  const go = (): void => {
    do onWritten(BLOCK.length);
    while (!socket.destroyed && socket.write(BLOCK));
  };
  socket.on("drain", go);
  go();
}
