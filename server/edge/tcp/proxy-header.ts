/**
 * The PROXY protocol (haproxy.org/download/2.9/doc/proxy-protocol.txt): bytes in front of everything else that a connection
 * carries, which say who is at its far end. Version 1 is a line of text, version 2 binary.
 */
import { isIP } from "node:net";
import { groupsOf, plainAddress } from "../../../runtime/ip-address.ts";

export interface Endpoint {
  /** An IP address. */
  address: string;
  /** 0 to 65535. */
  port: number;
}

/** The two ends of a visitor's connection. */
export interface Endpoints {
  /** The visitor. */
  source: Endpoint;
  /** What they connected to. */
  destination: Endpoint;
}

export type ProxyReading =
  | { state: "more" }
  | {
      state: "header";
      /** Addresses are in their plain spelling, IPv4 within IPv6 as IPv4. Undefined: the sender does not know, or speaks for itself. */
      endpoints: Endpoints | undefined;
      /** What came behind the header. */
      rest: Buffer;
    }
  | { state: "refused"; sentence: string };

const TEXT_START = Buffer.from("PROXY ");
/** Section 2.1: the longest line, with its CRLF. */
const MAX_LINE_BYTES = 107;

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n");
/** The signature, then version and command, family and transport, and the length of what follows. */
const FIXED_BYTES = 16;
/**
 * Section 2.2 wants a header that fits one TCP segment. The largest that are in use, with the names of certificates and clouds' own
 * extras, have some hundred bytes; loopback has segments beyond 4 KiB, so that somebody's might.
 */
const MAX_BLOCK_BYTES = 4 * 1024;

const VERSION_2 = 0x20;
const LOCAL = VERSION_2;
const PROXY = VERSION_2 | 1;
const UNSPEC = 0;
const INET = 1;
const INET6 = 2;
const UNIX = 3;
const STREAM = 1;
const DGRAM = 2;
/** By family: two addresses, and two ports where there are some. */
const ENDPOINTS_BYTES = [0, 12, 36, 216];

/**
 * The header of a TCP connection. Of two families the IPv4 address is written within IPv6. If either is no IP address, as that of
 * a socket which has closed, the header says that the endpoints are not known; never that the connection is the sender's own
 * (LOCAL): a service may trust its neighbour with more than a visitor.
 */
export function writeProxyHeader(version: 1 | 2, source: Endpoint, destination: Endpoint): Buffer {
  return version === 1 ? writeLine(source, destination) : writeBlock(STREAM, source, destination);
}

/** What precedes the payload of a UDP datagram: version 2, since version 1 knows TCP alone. Otherwise as that of a connection. */
export function writeDatagramProxyHeader(source: Endpoint, destination: Endpoint): Buffer {
  return writeBlock(DGRAM, source, destination);
}

function writeLine(source: Endpoint, destination: Endpoint): Buffer {
  const pair = alike(source.address, destination.address);
  if (!pair) return Buffer.from("PROXY UNKNOWN\r\n");
  const family = isIP(pair[0]);
  return Buffer.from(
    `PROXY TCP${family} ${pair[0]} ${pair[1]} ${source.port} ${destination.port}\r\n`,
    "latin1",
  );
}

function writeBlock(transport: number, source: Endpoint, destination: Endpoint): Buffer {
  const pair = alike(source.address, destination.address);
  if (!pair) return Buffer.from([...SIGNATURE, PROXY, UNSPEC, 0, 0]);
  const family = isIP(pair[0]) === 4 ? INET : INET6;
  const ports = [source.port, destination.port].flatMap((port) => [port >> 8, port & 0xff]);
  const endpoints = [...pair.flatMap(octetsOf), ...ports];
  return Buffer.from([...SIGNATURE, PROXY, (family << 4) | transport, 0, endpoints.length, ...endpoints]);
}

/** Two addresses as ones of the same family; undefined if either is none. */
function alike(source: string, destination: string): [string, string] | undefined {
  const pair = [plainAddress(source), plainAddress(destination)] as const;
  if (pair[0] === undefined || pair[1] === undefined) return undefined;
  return isIP(pair[0]) === isIP(pair[1]) ? [pair[0], pair[1]] : [withinIPv6(pair[0]), withinIPv6(pair[1])];
}

/** In hexadecimal alone: the specification knows no dots in an IPv6 address. */
function withinIPv6(address: string): string {
  if (isIP(address) === 6) return address;
  const [a, b, c, d] = octetsOf(address) as [number, number, number, number];
  return `::ffff:${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

function octetsOf(address: string): number[] {
  if (isIP(address) === 4) return address.split(".").map(Number);
  return groupsOf(address).flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff]);
}

/**
 * Reads the header, of either version, at the start of what a connection sends. It is strict: what two programs could
 * understand in two ways is refused. The same bytes get the same answer in whatever pieces they come.
 */
export class ProxyHeaderReader {
  #header = Buffer.allocUnsafeSlow(MAX_LINE_BYTES);
  #filledBytes = 0;
  /** Of version 2: as far as is known. */
  #wholeBytes = FIXED_BYTES;

  /** What the reader takes in memory. */
  get heldBytes(): number {
    return this.#header.length;
  }

  /** Nothing is to be pushed any more once it has answered with something else than "more". */
  push(chunk: Buffer): ProxyReading {
    let at = 0;
    while (at < chunk.length) {
      if (this.#filledBytes === 0) this.#header[0] = chunk[at]!;
      const end = this.#isText ? this.#endOfLine(chunk, at) : at + this.#wholeBytes - this.#filledBytes;
      const copied = chunk.copy(this.#header, this.#filledBytes, at, end);
      this.#filledBytes += copied;
      at += copied;
      const found = this.#isText ? this.#readLine() : this.#readBlock();
      if (typeof found === "string") return { state: "refused", sentence: found };
      if (found) return { state: "header", ...found, rest: chunk.subarray(at) };
    }
    return { state: "more" };
  }

  get #isText(): boolean {
    return this.#header[0] === TEXT_START[0];
  }

  /** Where the line ends, or has become too long: not beyond, since there may be what is not the header's. */
  #endOfLine(chunk: Buffer, at: number): number {
    const limit = at + MAX_LINE_BYTES - this.#filledBytes;
    const length = chunk.subarray(at, limit).indexOf("\n");
    return length < 0 ? limit : at + length + 1;
  }

  #readLine(): Found | string | undefined {
    const line = this.#header.subarray(0, this.#filledBytes);
    if (!beginsLike(line, TEXT_START)) return NO_HEADER;
    if (line.at(-1) === 0x0a) return parseLine(line.toString("latin1"));
    return line.length < MAX_LINE_BYTES
      ? undefined
      : `The PROXY line does not end within ${MAX_LINE_BYTES} bytes.`;
  }

  #readBlock(): Found | string | undefined {
    const header = this.#header.subarray(0, this.#filledBytes);
    if (!beginsLike(header, SIGNATURE)) return NO_HEADER;
    if (header.length < FIXED_BYTES) return undefined;
    if (header.length === FIXED_BYTES) {
      const blockBytes = header.readUInt16BE(14);
      const fault = faultOfFixedPart(header[12]!, header[13]!, blockBytes);
      if (fault !== undefined) return fault;
      this.#wholeBytes += blockBytes;
      this.#header = Buffer.allocUnsafeSlow(this.#wholeBytes);
      header.copy(this.#header);
    }
    if (header.length < this.#wholeBytes) return undefined;
    return parseBlock(header[12]!, header[13]!, header.subarray(FIXED_BYTES));
  }
}

type Found = Pick<Extract<ProxyReading, { state: "header" }>, "endpoints">;

const NO_HEADER = "The connection does not begin with a PROXY header.";
const NOT_KNOWN: Found = { endpoints: undefined };

/** Whether bytes are the start of something, or begin with all of it. */
function beginsLike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length);
  return bytes.compare(start, 0, length, 0, length) === 0;
}

/** Section 2.1. */
function parseLine(text: string): Found | string {
  if (!text.endsWith("\r\n")) return "The PROXY line ends in LF without CR.";
  const line = text.slice(0, -2);
  // A CR in its midst would be the end to some.
  if (/[^\x20-\x7e]/.test(line)) return "The PROXY line contains bytes that are not printable ASCII.";
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return NOT_KNOWN;
  const match = /^PROXY TCP([46]) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)$/.exec(line);
  if (!match) {
    return "The PROXY line is not TCP4 or TCP6, two addresses and two ports, with one space between.";
  }
  const [family, ...addresses] = match.slice(1, 4);
  // Many senders write IPv4 within IPv6 with dots, as inet_ntop does. A zone means something on one machine only.
  if (addresses.some((address) => isIP(address) !== Number(family) || address.includes("%"))) {
    return `The PROXY line says TCP${family}, and has something else than IPv${family} addresses.`;
  }
  const ports = match.slice(4);
  if (ports.some((port) => !/^(?:0|[1-9][0-9]{0,4})$/.test(port) || Number(port) > 65_535)) {
    return "The PROXY line has a port that is not a number from 0 to 65535.";
  }
  return found(addresses, ports.map(Number));
}

/** Section 2.2. */
function faultOfFixedPart(command: number, kind: number, blockBytes: number): string | undefined {
  if (command >> 4 !== VERSION_2 >> 4) return `The PROXY header has version ${command >> 4}, and not 2.`;
  if (command !== LOCAL && command !== PROXY) return "The PROXY header has an unknown command.";
  if (blockBytes > MAX_BLOCK_BYTES) {
    return `The PROXY header announces ${blockBytes} bytes, more than the ${MAX_BLOCK_BYTES} that are taken.`;
  }
  // "discard the protocol block including the family which is ignored"
  if (command === LOCAL) return undefined;
  const [family, transport] = [kind >> 4, kind & 0xf];
  if (family > UNIX || transport > DGRAM) {
    return "The PROXY header has an unknown address family or transport.";
  }
  if (blockBytes < ENDPOINTS_BYTES[family]!) {
    return `The PROXY header announces ${blockBytes} bytes, too few for its addresses.`;
  }
  return undefined;
}

function parseBlock(command: number, kind: number, block: Buffer): Found | string {
  const [family, transport] = [kind >> 4, kind & 0xf];
  // Without a family nobody knows where addresses would end, and what follows them begin.
  if (command === LOCAL || family === UNSPEC) return NOT_KNOWN;
  if (!isRunOfExtras(block.subarray(ENDPOINTS_BYTES[family]))) {
    return "The PROXY header has something behind its addresses that is cut off.";
  }
  if (family === UNIX || transport === UNSPEC) return NOT_KNOWN;
  const size = family === INET ? 4 : 16;
  return found(
    [textOf(block.subarray(0, size)), textOf(block.subarray(size, 2 * size))],
    [block.readUInt16BE(2 * size), block.readUInt16BE(2 * size + 2)],
  );
}

/** Whether these are whole type-length-values. Which there are is nobody's business here. */
function isRunOfExtras(bytes: Buffer): boolean {
  let at = 0;
  while (at + 3 <= bytes.length) at += 3 + bytes.readUInt16BE(at + 1);
  return at === bytes.length;
}

function textOf(octets: Buffer): string {
  return octets.length === 4 ? octets.join(".") : octets.toString("hex").match(/.{4}/g)!.join(":");
}

function found(addresses: string[], ports: number[]): Found {
  const [source, destination] = addresses.map((address, i) => ({
    address: plainAddress(address)!,
    port: ports[i]!,
  })) as [Endpoint, Endpoint];
  return { endpoints: { source, destination } };
}
