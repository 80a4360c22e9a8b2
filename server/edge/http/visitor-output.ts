import type { Socket } from "node:net";
import { TurnCork } from "../../../link/turn-cork.ts";

/** Up to this, bytes are put behind the text that waits: one buffer on its way to the socket is cheaper than two. */
const TOGETHER_BYTES = 8 * 1024;
/** A chunk of a chunked body that has gathered so much is written. */
const CHUNK_BYTES = 64 * 1024;

/** Writes to a visitor's socket: a small answer in one piece, and large ones in as few writes as turns of the event loop. */
export class VisitorOutput {
  readonly #socket: Socket;
  /** Once there was more than goes behind the text. */
  #cork: TurnCork | undefined;
  /** What waits for more of its turn; Latin-1. */
  #text = "";
  /** Of the chunk behind it. */
  #parts: Buffer[] | undefined;
  #partsBytes = 0;
  #scheduled = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** @param text one character for each byte */
  text(text: string): void {
    if (this.#parts) this.#writeChunk(this.#parts);
    this.#text += text;
    this.#schedule();
  }

  /** `false`: the socket has enough until it drains; the bytes are taken all the same. */
  bytes(chunk: Buffer): boolean {
    if (this.#text !== "" && this.#text.length + chunk.length <= TOGETHER_BYTES) {
      this.#text += chunk.toString("latin1");
      return true;
    }
    this.#cork ??= new TurnCork(this.#socket);
    this.#cork.hold(this.#text.length + chunk.length);
    this.#writeText();
    return this.#socket.write(chunk);
  }

  /** As `bytes`, for a chunked body: what comes in one turn becomes one chunk, however many slices it came in. */
  chunk(slice: Buffer): boolean {
    if (this.#parts) this.#parts.push(slice);
    else this.#parts = [slice];
    this.#partsBytes += slice.length;
    if (this.#partsBytes >= CHUNK_BYTES) return this.#writeChunk(this.#parts);
    this.#schedule();
    return !this.#socket.writableNeedDrain;
  }

  /** Lets everything leave now; `written` is called once the system has it, and never if the connection breaks. */
  flush(written?: () => void): void {
    if (this.#parts) this.#writeChunk(this.#parts);
    if (!written) this.#writeText();
    else if (this.#text === "" && this.#socket.writableLength === 0) process.nextTick(written);
    else
      this.#writeText((error) => {
        if (!error) written();
      });
    this.#cork?.release();
  }

  #writeChunk(parts: Buffer[]): boolean {
    this.#text += `${this.#partsBytes.toString(16)}\r\n`;
    this.#parts = undefined;
    this.#partsBytes = 0;
    let room = true;
    for (const part of parts) room = this.bytes(part);
    this.#text += "\r\n";
    return room;
  }

  /** With a callback it writes even if there is nothing, behind all that waits. */
  #writeText(callback?: (error?: Error | null) => void): void {
    if (this.#text !== "" || callback) this.#socket.write(this.#text, "latin1", callback);
    this.#text = "";
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(VisitorOutput.#turnOver, this);
  }

  static readonly #turnOver = (output: VisitorOutput): void => {
    output.#scheduled = false;
    if (!output.#socket.destroyed) output.flush();
  };
}
