import { constants, deflateRawSync } from "node:zlib";
import { closeFrame, frame, OPCODE, type FrameOptions } from "./websocket-frames.ts";

const { continuation, text, binary, close, ping, pong } = OPCODE;
const KIB = 1024;
const MIB = 1024 * KIB;
/** What the server of the cases takes. */
export const MAX_PAYLOAD_BYTES = 4 * MIB;
export const NORMAL = 1000;
const PROTOCOL_ERROR = 1002;
const NO_STATUS = 1005;
const BAD_TEXT = 1007;
const TOO_BIG = 1009;

export interface ConformanceCase {
  name: string;
  /** What the visitor sends behind its handshake, byte for byte; then it closes with 1000 and waits for the end. */
  frames: Buffer[];
  /** The code of the close frame that a conforming server sends: an echo of the visitor's, or what is wrong. */
  code: number;
  /** Messages and pings that it sends back before. */
  replies: number;
  /** Sent in pieces of so many bytes; each frame at once if left out. */
  chopBytes?: number;
  /** permessage-deflate is agreed on. */
  compressed?: boolean;
}

type Row = [
  name: string,
  frames: Buffer[],
  code: number,
  replies: number,
  how?: Pick<ConformanceCase, "chopBytes" | "compressed">,
];

/** A message in fragments of so many bytes. */
function fragments(opcode: number, payload: Buffer, bytes: number): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < payload.length; at += bytes) {
    const fin = at + bytes >= payload.length;
    frames.push(frame(at === 0 ? opcode : continuation, payload.subarray(at, at + bytes), { fin }));
  }
  return frames;
}

function open(opcode: number, payload: string | Buffer): Buffer {
  return frame(opcode, payload, { fin: false });
}

function hex(bytes: string): Buffer {
  return Buffer.from(bytes.replaceAll(" ", ""), "hex");
}

/** A message as permessage-deflate has it (RFC 7692 section 7.2.1). */
function deflated(payload: string | Buffer): Buffer {
  const whole = deflateRawSync(Buffer.from(payload as string), { finishFlush: constants.Z_SYNC_FLUSH });
  // The empty block that every flush ends with is left out.
  return whole.subarray(0, -4);
}

const RSV1: FrameOptions = { reserved: 4 };
const DEFLATE = { compressed: true };
const GREETING = "Grüße, 你好, 🦆";

const FRAMING: Row[] = [
  ...[0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537].flatMap((size): Row[] => [
    [`a text of ${size} bytes`, [frame(text, "*".repeat(size))], NORMAL, 1],
    [`a binary message of ${size} bytes`, [frame(binary, Buffer.alloc(size, 0xfe))], NORMAL, 1],
  ]),
  ...[126, 65_536].flatMap((size): Row[] => [
    [
      `a text of ${size} bytes in chops of 997`,
      [frame(text, "*".repeat(size))],
      NORMAL,
      1,
      { chopBytes: 997 },
    ],
  ]),
  ["a text byte by byte", [frame(text, GREETING)], NORMAL, 1, { chopBytes: 1 }],
  ["a length of 5 in two bytes", [frame(text, "hello", { lengthBytes: 2 })], NORMAL, 1],
  ["a length of 5 in eight bytes", [frame(text, "hello", { lengthBytes: 8 })], NORMAL, 1],
  ["a frame that is not masked", [frame(text, "hello", { masked: false })], PROTOCOL_ERROR, 0],
  [
    "three messages in one write",
    [Buffer.concat(["a", "b", "c"].map((each) => frame(text, each)))],
    NORMAL,
    3,
  ],
  ["a length beyond the limit", [frame(binary, "", { length: 5n << 20n })], TOO_BIG, 0],
  ["a length of 2^53", [frame(binary, "", { length: 1n << 53n })], TOO_BIG, 0],
  ["a length with its highest bit set", [frame(binary, "", { length: 1n << 63n })], TOO_BIG, 0],
];

const PINGS: Row[] = [
  ["a ping without payload", [frame(ping)], NORMAL, 1],
  ["a ping with payload", [frame(ping, "hello")], NORMAL, 1],
  ["a ping of any bytes", [frame(ping, hex("00 ff fe fd fc fb 00 ff"))], NORMAL, 1],
  ["a ping of 125 bytes", [frame(ping, Buffer.alloc(125, 0xfe))], NORMAL, 1],
  ["a ping of 126 bytes", [frame(ping, Buffer.alloc(126, 0xfe))], PROTOCOL_ERROR, 0],
  ["a ping of 125 bytes, byte by byte", [frame(ping, Buffer.alloc(125, 0xfe))], NORMAL, 1, { chopBytes: 1 }],
  ["ten pings", Array.from({ length: 10 }, (_, i) => frame(ping, String(i))), NORMAL, 10],
  [
    "fifty pings in one write",
    [Buffer.concat(Array.from({ length: 50 }, () => frame(ping, "p")))],
    NORMAL,
    50,
  ],
  ["a ping in fragments", [open(ping, "he"), frame(continuation, "llo")], PROTOCOL_ERROR, 0],
  ["a pong without payload that nobody asked for", [frame(pong)], NORMAL, 0],
  ["a pong with payload that nobody asked for", [frame(pong, "hello")], NORMAL, 0],
  ["a pong of 126 bytes", [frame(pong, Buffer.alloc(126))], PROTOCOL_ERROR, 0],
  ["a pong and a ping", [frame(pong, "a"), frame(ping, "b")], NORMAL, 1],
];

const RESERVED: Row[] = [
  ...[1, 2, 3, 4, 5, 6, 7].map((reserved): Row => [
    `reserved bits ${reserved.toString(2).padStart(3, "0")}`,
    [frame(text, "hello", { reserved })],
    PROTOCOL_ERROR,
    0,
  ]),
  [
    "a reserved bit behind a message",
    [frame(text, "hello"), frame(text, "x", { reserved: 2 })],
    PROTOCOL_ERROR,
    1,
  ],
  ["a reserved bit in a ping", [frame(ping, "", { reserved: 1 })], PROTOCOL_ERROR, 0],
  ["a reserved bit in a close", [frame(close, hex("03e8"), { reserved: 4 })], PROTOCOL_ERROR, 0],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].flatMap((opcode): Row[] => [
    [`opcode ${opcode.toString(16)}`, [frame(opcode)], PROTOCOL_ERROR, 0],
    [
      `opcode ${opcode.toString(16)} behind a message`,
      [frame(text, "a"), frame(opcode, "b")],
      PROTOCOL_ERROR,
      1,
    ],
  ]),
];

const FRAGMENTS: Row[] = [
  ["a text in two fragments", [open(text, "frag"), frame(continuation, "ment")], NORMAL, 1],
  ["a text in fragments of a byte", fragments(text, Buffer.from("fragment by fragment"), 1), NORMAL, 1],
  ["fragments without payload", [open(text, ""), open(continuation, ""), frame(continuation, "")], NORMAL, 1],
  [
    "a middle fragment without payload",
    [open(binary, "a"), open(continuation, ""), frame(continuation, "b")],
    NORMAL,
    1,
  ],
  ["a ping between fragments", [open(text, "a"), frame(ping, "p"), frame(continuation, "b")], NORMAL, 2],
  [
    "pings between all fragments",
    [open(text, "a"), frame(ping, "1"), open(continuation, "b"), frame(ping, "2"), frame(continuation, "c")],
    NORMAL,
    3,
  ],
  ["a pong between fragments", [open(text, "a"), frame(pong, "p"), frame(continuation, "b")], NORMAL, 1],
  [
    "fragments and a ping in one write",
    [Buffer.concat([open(text, "a"), frame(ping, "p"), frame(continuation, "b")])],
    NORMAL,
    2,
  ],
  [
    "fragments and a ping byte by byte",
    [open(text, "a"), frame(ping, "p"), frame(continuation, "b")],
    NORMAL,
    2,
    { chopBytes: 1 },
  ],
  ["a continuation of nothing", [frame(continuation, "a")], PROTOCOL_ERROR, 0],
  ["an open continuation of nothing", [open(continuation, "a"), frame(text, "b")], PROTOCOL_ERROR, 0],
  ["a continuation behind a whole message", [frame(text, "a"), frame(continuation, "b")], PROTOCOL_ERROR, 1],
  [
    "a continuation behind the last fragment",
    [open(text, "a"), frame(continuation, "b"), frame(continuation, "c")],
    PROTOCOL_ERROR,
    1,
  ],
  ["a new message between fragments", [open(text, "a"), frame(text, "b")], PROTOCOL_ERROR, 0],
  ["a binary message between fragments of a text", [open(text, "a"), open(binary, "b")], PROTOCOL_ERROR, 0],
  ["a close between fragments", [open(text, "a"), closeFrame(1000)], NORMAL, 0],
  [
    "two messages in fragments",
    ["a", "b"].flatMap((each) => [open(text, each), frame(continuation, each)]),
    NORMAL,
    2,
  ],
];

const VALID_TEXT: [name: string, bytes: string][] = [
  ["the first of one byte", "00"],
  ["the last of one byte", "7f"],
  ["the first of two bytes", "c2 80"],
  ["the last of two bytes", "df bf"],
  ["the first of three bytes", "e0 a0 80"],
  ["the last before the surrogates", "ed 9f bf"],
  ["the first behind the surrogates", "ee 80 80"],
  ["a noncharacter", "ef bf bf"],
  ["the first of four bytes", "f0 90 80 80"],
  ["the last of all", "f4 8f bf bf"],
];

const BAD_TEXTS: [name: string, bytes: string][] = [
  ["a lone continuation byte", "80"],
  ["continuation bytes alone", "80 bf 80 bf"],
  ["a lone first byte", "c3 20"],
  ["a character cut short", "e4 bd"],
  ["an overlong slash", "c0 af"],
  ["an overlong slash in three bytes", "e0 80 af"],
  ["an overlong NUL", "f0 80 80 80"],
  ["a surrogate", "ed a0 80"],
  ["a pair of surrogates", "ed a0 bd ed b8 80"],
  ["beyond the last of all", "f4 90 80 80"],
  ["five bytes", "f8 88 80 80 80"],
  ["an impossible byte", "fe"],
  ["a good beginning and a bad end", "ce ba e1 bd b9 cf 83 ed a0 80 65 64"],
];

const TEXTS: Row[] = [
  ["a text in several scripts", [frame(text, GREETING)], NORMAL, 1],
  [
    "a text in several scripts, byte by byte in fragments",
    fragments(text, Buffer.from(GREETING), 1),
    NORMAL,
    1,
  ],
  [
    "a character split over fragments and a ping",
    [open(text, hex("f0 9f")), frame(ping, "p"), frame(continuation, hex("a6 86"))],
    NORMAL,
    2,
  ],
  ...VALID_TEXT.map(([name, bytes]): Row => [`text: ${name}`, [frame(text, hex(bytes))], NORMAL, 1]),
  ...BAD_TEXTS.map(([name, bytes]): Row => [`text: ${name}`, [frame(text, hex(bytes))], BAD_TEXT, 0]),
  ...BAD_TEXTS.map(([name, bytes]): Row => [`binary: ${name}`, [frame(binary, hex(bytes))], NORMAL, 1]),
  ["a bad text behind a good one", [frame(text, "good"), frame(text, hex("ff"))], BAD_TEXT, 1],
  ["a bad first fragment", [open(text, hex("ce ba f4 90 80 80")), frame(continuation, "x")], BAD_TEXT, 0],
  [
    "a bad byte behind a good half of a character",
    [open(text, hex("f4")), frame(continuation, hex("90 80 80"))],
    BAD_TEXT,
    0,
  ],
  [
    "a character that the last fragment leaves open",
    [open(text, "a"), frame(continuation, hex("e4"))],
    BAD_TEXT,
    0,
  ],
  ["a bad text byte by byte", [frame(text, hex("ce ba ed a0 80"))], BAD_TEXT, 0, { chopBytes: 1 }],
];

const CLOSES: Row[] = [
  ["nothing but a close", [], NORMAL, 0],
  ["a close that says nothing", [closeFrame()], NO_STATUS, 0],
  ["a close of one byte", [frame(close, "a")], PROTOCOL_ERROR, 0],
  ["a close with a reason", [closeFrame(1000, "Bye")], NORMAL, 0],
  ["a close with a reason of 123 bytes", [closeFrame(1000, "*".repeat(123))], NORMAL, 0],
  ["a close with a reason of 124 bytes", [closeFrame(1000, "*".repeat(124))], PROTOCOL_ERROR, 0],
  ["a close whose reason is no text", [closeFrame(1000, hex("ce ba ed a0 80"))], BAD_TEXT, 0],
  ["a close in fragments", [open(close, hex("03e8"))], PROTOCOL_ERROR, 0],
  ["a close byte by byte", [closeFrame(1001, "away")], 1001, 0, { chopBytes: 1 }],
  ["two closes", [closeFrame(1000), closeFrame(1001)], NORMAL, 0],
  ["a message behind a close", [closeFrame(1000), frame(text, "late")], NORMAL, 0],
  ["a ping behind a close", [closeFrame(1000), frame(ping, "late")], NORMAL, 0],
  ["nonsense behind a close", [closeFrame(1000), hex("ff ff ff ff")], NORMAL, 0],
  ["a message before a close", [frame(text, "early"), closeFrame(1000)], NORMAL, 1],
  [
    "a large message before a close, all in one write",
    [Buffer.concat([frame(text, "*".repeat(256 * KIB)), closeFrame(3000)])],
    3000,
    1,
  ],
  ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999].map(
    (code): Row => [`close code ${code}`, [closeFrame(code)], code, 0],
  ),
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map((code): Row => [
    `close code ${code}, which nobody may send`,
    [closeFrame(code)],
    PROTOCOL_ERROR,
    0,
  ]),
];

const LARGE: Row[] = [
  ["a text of 1 MiB", [frame(text, "*".repeat(MIB))], NORMAL, 1],
  ["a binary message of 4 MiB", [frame(binary, Buffer.alloc(4 * MIB, 0x55))], NORMAL, 1],
  ["a binary message of a byte more", [frame(binary, Buffer.alloc(4 * MIB + 1))], TOO_BIG, 0],
  ["1 MiB in fragments of 256 bytes", fragments(binary, Buffer.alloc(MIB, 1), 256), NORMAL, 1],
  ["1 MiB in fragments of 64 KiB", fragments(text, Buffer.alloc(MIB, "x"), 64 * KIB), NORMAL, 1],
  ["5 MiB in fragments of 1 MiB", fragments(binary, Buffer.alloc(5 * MIB), MIB), TOO_BIG, 0],
  ["256 KiB in chops of 1,460", [frame(binary, Buffer.alloc(256 * KIB, 2))], NORMAL, 1, { chopBytes: 1_460 }],
  [
    "a thousand messages",
    Array.from({ length: 1_000 }, (_, i) => frame(text, `message ${i}`)),
    NORMAL,
    1_000,
  ],
];

const COMPRESSED: Row[] = [
  ["a compressed text", [frame(text, deflated("hello hello hello"), RSV1)], NORMAL, 1, DEFLATE],
  ["an empty compressed text", [frame(text, deflated(""), RSV1)], NORMAL, 1, DEFLATE],
  ["a text that is not compressed, where it might be", [frame(text, "plain")], NORMAL, 1, DEFLATE],
  ["100 KiB compressed", [frame(text, deflated("again and ".repeat(10 * KIB)), RSV1)], NORMAL, 1, DEFLATE],
  [
    "a compressed text in fragments",
    [
      frame(text, deflated("in two parts").subarray(0, 5), { ...RSV1, fin: false }),
      frame(continuation, deflated("in two parts").subarray(5)),
    ],
    NORMAL,
    1,
    DEFLATE,
  ],
  [
    "a compressed text byte by byte",
    [frame(text, deflated("byte by byte"), RSV1)],
    NORMAL,
    1,
    { ...DEFLATE, chopBytes: 1 },
  ],
  [
    "a continuation that says that it is compressed",
    [frame(text, deflated("x"), { ...RSV1, fin: false }), frame(continuation, "", RSV1)],
    PROTOCOL_ERROR,
    0,
    DEFLATE,
  ],
  ["a compressed ping", [frame(ping, "", RSV1)], PROTOCOL_ERROR, 0, DEFLATE],
  ["what cannot be inflated", [frame(text, hex("ff ff ff ff"), RSV1)], BAD_TEXT, 0, DEFLATE],
  ["a compressed text that is none", [frame(text, deflated(hex("ff fe")), RSV1)], BAD_TEXT, 0, DEFLATE],
  [
    "a few bytes that inflate beyond the limit",
    [frame(binary, deflated(Buffer.alloc(5 * MIB)), RSV1)],
    TOO_BIG,
    0,
    DEFLATE,
  ],
  ["another reserved bit", [frame(text, "x", { reserved: 2 })], PROTOCOL_ERROR, 0, DEFLATE],
];

/** In the spirit of the Autobahn test suite: what visitors can do to a WebSocket server, rightly and wrongly. */
export const CONFORMANCE: ConformanceCase[] = [
  ...FRAMING,
  ...PINGS,
  ...RESERVED,
  ...FRAGMENTS,
  ...TEXTS,
  ...CLOSES,
  ...LARGE,
  ...COMPRESSED,
].map(([name, frames, code, replies, how]) => ({ name, frames, code, replies, ...how }));
