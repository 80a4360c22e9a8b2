import { createHash, randomBytes } from "node:crypto";

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface FrameOptions {
  fin?: boolean;
  /** The three reserved bits, as a number up to 7. */
  reserved?: number;
  /** Visitors must mask. */
  masked?: boolean;
  /** How many bytes say the length; as few as can if left out. */
  lengthBytes?: 0 | 2 | 8;
  /** What the header says, whatever follows. */
  length?: bigint;
}

/** A visitor's frame as on the wire (RFC 6455 section 5.2), right or wrong. */
export function frame(opcode: number, payload: string | Buffer = "", options: FrameOptions = {}): Buffer {
  const { fin = true, reserved = 0, masked = true } = options;
  const body = Buffer.from(payload as string);
  const length = options.length ?? BigInt(body.length);
  const lengthBytes = options.lengthBytes ?? (length < 126n ? 0 : length < 65_536n ? 2 : 8);
  const header = Buffer.alloc(2 + lengthBytes);
  header[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  header[1] = (masked ? 0x80 : 0) | (lengthBytes === 0 ? Number(length) : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) header.writeUInt16BE(Number(length), 2);
  if (lengthBytes === 8) header.writeBigUInt64BE(length, 2);
  if (!masked) return Buffer.concat([header, body]);
  const mask = randomBytes(4);
  return Buffer.concat([header, mask, Buffer.from(body.map((byte, i) => byte ^ mask[i & 3]!))]);
}

/** @param code left out: a close frame that says nothing */
export function closeFrame(code?: number, reason: string | Buffer = ""): Buffer {
  if (code === undefined) return frame(OPCODE.close);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code);
  return frame(OPCODE.close, Buffer.concat([head, Buffer.from(reason as string)]));
}

/** What came, a line a frame; payloads that are long by their hash. Bytes that are no whole frame come last. */
export function describeFrames(bytes: Buffer): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const short = bytes.length - at < 2 ? undefined : bytes[at + 1]! & 0x7f;
    const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0;
    const start = at + 2 + lengthBytes;
    if (short === undefined || bytes.length < start) return [...lines, `rest ${bytes.toString("hex", at)}`];
    const length =
      lengthBytes === 8
        ? Number(bytes.readBigUInt64BE(at + 2))
        : lengthBytes === 2
          ? bytes.readUInt16BE(at + 2)
          : short;
    if (bytes.length < start + length) return [...lines, `rest of ${bytes.length - at} bytes`];
    const payload = bytes.subarray(start, start + length);
    const shown =
      length <= 125 ? payload.toString("hex") : createHash("sha256").update(payload).digest("hex");
    const masked = bytes[at + 1]! >= 0x80 ? " masked" : "";
    lines.push(`${bytes[at]!.toString(16)}${masked} ${length} ${shown}`);
    at = start + length;
  }
  return lines;
}
