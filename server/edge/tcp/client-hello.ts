/** Whom a TLS client asks for, read from its first message without answering it: the service behind a tunnel does that. */
import { isIPv4 } from "node:net";
import { normalizeHostname } from "../../routing/hostname.ts";
import { GatheredBytes } from "./gathered-bytes.ts";

export type HelloReading =
  | { state: "more" }
  | {
      state: "hello";
      /** Normalised. Undefined: the client names none. */
      hostname: string | undefined;
      /** What it offers to speak within TLS (ALPN, RFC 7301), the best first; one character for each byte. */
      protocols: string[];
    }
  | { state: "refused"; sentence: string };

// RFC 8446 sections 5.1, 4 and 4.2; RFC 6066 section 3; RFC 5246 section 7.2.
const ALERT = 21;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const APPLICATION_PROTOCOLS = 16;
const HOST_NAME = 0;
const FATAL = 2;
const UNRECOGNIZED_NAME = 112;

const RECORD_HEADER_BYTES = 5;
const MESSAGE_HEADER_BYTES = 4;
/** RFC 8446 section 5.1: what is longer is no plaintext record. */
const MAX_RECORD_BYTES = 2 ** 14;
/**
 * What may come, in records and message, before the hello is whole. Browsers send some 2 KB with post-quantum keys, and a session
 * ticket that holds a client's certificates takes a few more; Go's TLS takes as much as this too. A stranger can make us keep it.
 */
const MAX_BYTES = 64 * 1024;

/**
 * The fatal alert for a name that no tunnel has, in plaintext as all before a ServerHello. Browsers then say that the site has no
 * such name, and not that its connection was reset.
 */
export function unrecognizedName(): Buffer {
  return Buffer.from([ALERT, 3, 3, 0, 2, FATAL, UNRECOGNIZED_NAME]);
}

/** Reads a ClientHello from what a connection sends. The same bytes get the same answer in whatever pieces they come. */
export class ClientHelloReader {
  readonly #taken = new GatheredBytes();
  readonly #message = new GatheredBytes();
  readonly #recordHeader = Buffer.alloc(RECORD_HEADER_BYTES);
  #recordHeaderBytes = 0;
  /** Bytes of the record still to come. */
  #remainingBytes = 0;
  /** Bytes of all records that have begun. */
  #recordsBytes = 0;

  /** All that was pushed, as it came: to be passed on. */
  get bytes(): Buffer {
    return this.#taken.bytes;
  }

  /** What the reader takes in memory. */
  get heldBytes(): number {
    return this.#taken.heldBytes + this.#message.heldBytes;
  }

  /** Nothing is to be pushed any more once it has answered with something else than "more". */
  push(chunk: Buffer): HelloReading {
    this.#taken.add(chunk);
    try {
      return this.#read(chunk) ?? { state: "more" };
    } catch (error) {
      if (error instanceof Refusal) return { state: "refused", sentence: error.message };
      throw error;
    }
  }

  #read(chunk: Buffer): HelloReading | undefined {
    let at = 0;
    while (at < chunk.length) {
      if (this.#recordHeaderBytes < RECORD_HEADER_BYTES) {
        const copied = chunk.copy(this.#recordHeader, this.#recordHeaderBytes, at);
        this.#recordHeaderBytes += copied;
        at += copied;
        this.#checkRecordHeader();
      } else {
        const piece = chunk.subarray(at, at + this.#remainingBytes);
        this.#message.add(piece);
        at += piece.length;
        this.#remainingBytes -= piece.length;
        if (this.#remainingBytes === 0) this.#recordHeaderBytes = 0;
        const hello = this.#readMessage();
        if (hello) return hello;
      }
    }
    return undefined;
  }

  #checkRecordHeader(): void {
    const begun = this.#message.length > 0;
    const header = this.#recordHeader.subarray(0, this.#recordHeaderBytes);
    if (header[0] !== HANDSHAKE || (header.length > 1 && header[1] !== 3)) {
      throw new Refusal(
        begun
          ? "The TLS ClientHello is interrupted by something else."
          : "The connection does not begin with a TLS ClientHello.",
      );
    }
    if (header.length < RECORD_HEADER_BYTES) return;
    this.#remainingBytes = header.readUInt16BE(3);
    if (this.#remainingBytes === 0 || this.#remainingBytes > MAX_RECORD_BYTES) {
      throw new Refusal(`A TLS record of ${this.#remainingBytes} bytes: it holds 1 to ${MAX_RECORD_BYTES}.`);
    }
    if (this.#recordsBytes >= MAX_BYTES) throw tooLong();
    this.#recordsBytes += RECORD_HEADER_BYTES + this.#remainingBytes;
  }

  #readMessage(): HelloReading | undefined {
    const { bytes } = this.#message;
    if (bytes[0] !== CLIENT_HELLO) throw new Refusal("The first TLS message is not a ClientHello.");
    if (bytes.length < MESSAGE_HEADER_BYTES) return undefined;
    const end = MESSAGE_HEADER_BYTES + bytes.readUIntBE(1, 3);
    if (end > MAX_BYTES) throw tooLong();
    return bytes.length < end ? undefined : parseHello(new Field(bytes.subarray(MESSAGE_HEADER_BYTES, end)));
  }
}

/** Why a hello is refused, in a sentence. */
class Refusal extends Error {}

function tooLong(): Refusal {
  return new Refusal(`The TLS ClientHello takes more than ${MAX_BYTES} bytes.`);
}

function malformed(what: string): Refusal {
  return new Refusal(`The TLS ClientHello is malformed: ${what}.`);
}

/** RFC 8446 section 4.1.2; the older versions are the same but for what is within the extensions. */
function parseHello(hello: Field): HelloReading {
  hello.take(2 + 32); // version and random
  hello.vector(1); // session id
  hello.vector(2); // cipher suites
  hello.vector(1); // compression methods
  let hostname: string | undefined;
  let protocols: string[] = [];
  const seen = new Set<number>();
  // Before TLS 1.3 there may be none.
  const extensions = hello.isOver ? hello : hello.vector(2);
  hello.finish();
  while (!extensions.isOver) {
    const type = extensions.number(2);
    const extension = extensions.vector(2);
    // Who takes the last one would be led to another place than who takes the first.
    if (seen.has(type)) throw malformed("it has an extension twice");
    seen.add(type);
    if (type === SERVER_NAME) hostname = parseServerName(extension);
    else if (type === APPLICATION_PROTOCOLS) protocols = parseProtocols(extension);
  }
  return { state: "hello", hostname, protocols };
}

/** RFC 6066 section 3. */
function parseServerName(extension: Field): string | undefined {
  let hostname: string | undefined;
  const names = extension.vector(2);
  extension.finish();
  if (names.isOver) throw malformed("its list of server names is empty");
  while (!names.isOver) {
    const type = names.number(1);
    // Whatever types there will be begin with a length of this size.
    const name = names.vector(2);
    if (type !== HOST_NAME) continue;
    if (hostname !== undefined) throw malformed("it has two server names");
    hostname = parseHostname(name.text);
  }
  return hostname;
}

function parseHostname(text: string): string {
  // International names come in their ASCII form. Addresses are none.
  const hostname = /^[\x21-\x7e]+$/.test(text) ? normalizeHostname(text) : undefined;
  if (hostname === undefined || isIPv4(hostname)) throw malformed("its server name is not a hostname");
  return hostname;
}

/** RFC 7301 section 3.1. */
function parseProtocols(extension: Field): string[] {
  const protocols: string[] = [];
  const list = extension.vector(2);
  extension.finish();
  while (!list.isOver) protocols.push(list.vector(1).text);
  if (protocols.length === 0 || protocols.includes(""))
    throw malformed("it offers a protocol without a name");
  return protocols;
}

/** Bytes of a message, read from the front; what they do not hold is refused. */
class Field {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isOver(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** All of it, one character for each byte. */
  get text(): string {
    return this.#bytes.toString("latin1");
  }

  take(length: number): Buffer {
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    if (taken.length < length) throw malformed("something in it is longer than what it is in");
    this.#at += length;
    return taken;
  }

  number(size: number): number {
    return this.take(size).readUIntBE(0, size);
  }

  /** A field with its length before it (RFC 8446 section 3.4). */
  vector(lengthSize: number): Field {
    return new Field(this.take(this.number(lengthSize)));
  }

  finish(): void {
    if (!this.isOver) throw malformed("something in it is shorter than what it is in");
  }
}
