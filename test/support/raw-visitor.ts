import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** How a connection ended: in order, or by a TCP reset. */
export type ConnectionEnd = "fin" | "rst";

export interface RawHead {
  version: string;
  status: number;
  reason: string;
  /** Names and values in turn, one character a byte. */
  fields: string[];
}

export interface RawAnswer extends RawHead {
  /** The 1xx answers before it. */
  interims: RawHead[];
  framing: "none" | "length" | "chunked" | "close";
  body: Buffer;
  /** Payloads of a chunked body, each by itself. */
  chunks: Buffer[];
  trailers: string[];
}

/** The connection ended where an answer needed more bytes. */
export class Cut extends Error {
  override readonly name = "Cut";
  readonly end: ConnectionEnd;
  /** What had come of the answer that was cut. */
  readonly partial: string;

  constructor(end: ConnectionEnd, partial: string) {
    super(`the connection was cut (${end}) behind ${JSON.stringify(partial.slice(0, 200))}`);
    this.end = end;
    this.partial = partial;
  }
}

/** A visitor over plain TCP: writes what a test says, byte for byte, and reads strictly what comes back. */
export class RawVisitor {
  readonly socket: Socket;
  /** Resolves when the server's side of the connection ends. */
  readonly ended: Promise<ConnectionEnd>;
  #unread: Buffer[] = [];
  #unreadBytes = 0;
  #end: ConnectionEnd | undefined;
  #wake: (() => void) | undefined;
  /** Everything taken since the start of the answer that is being read. */
  #taken = "";

  protected constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#unread.push(chunk);
      this.#unreadBytes += chunk.length;
      this.#wake?.();
    });
    this.ended = new Promise((resolve) => {
      const over = (end: ConnectionEnd) => {
        this.#end ??= end;
        this.#wake?.();
        resolve(this.#end);
      };
      socket.on("end", () => over("fin"));
      socket.on("error", () => over("rst"));
      socket.on("close", () => over("rst"));
    });
  }

  static async connect(port: number, host = "127.0.0.1"): Promise<RawVisitor> {
    return new RawVisitor(await dialRaw(port, host));
  }

  /** Sends text, one byte a character, or bytes. */
  send(...parts: (string | Buffer)[]): this {
    for (const part of parts)
      this.socket.write(typeof part === "string" ? Buffer.from(part, "latin1") : part);
    return this;
  }

  /** Leaves in order. */
  end(): this {
    this.socket.end();
    return this;
  }

  /** Leaves with a TCP reset. */
  abort(): void {
    this.socket.resetAndDestroy();
  }

  close(): void {
    this.socket.destroy();
  }

  /** Bytes that came and are not part of anything read so far. */
  get unread(): string {
    return Buffer.concat(this.#unread).toString("latin1");
  }

  /** The next final answer, whole. @param method of the request that it answers */
  async answer(method = "GET"): Promise<RawAnswer> {
    this.#taken = "";
    const interims: RawHead[] = [];
    for (;;) {
      const head = await this.head();
      if (head.status < 200) interims.push(head);
      else return { ...head, interims, ...(await this.#body(head, method)) };
    }
  }

  /** The next head, interim or final. */
  async head(): Promise<RawHead> {
    const statusLine = await this.#line();
    const match = /^HTTP\/(1\.1) ([1-9][0-9]{2}) ([^\r\n]*)$/.exec(statusLine);
    if (!match) throw new Error(`no status line: ${JSON.stringify(statusLine)}`);
    const fields = await this.#fields();
    return { version: match[1]!, status: Number(match[2]), reason: match[3]!, fields };
  }

  /** So many bytes, outside of any answer. */
  async bytes(count: number): Promise<Buffer> {
    while (this.#unreadBytes < count) await this.#more();
    const parts: Buffer[] = [];
    for (let missing = count; missing > 0;) {
      const part = this.#unread.shift()!;
      parts.push(part.subarray(0, missing));
      if (part.length > missing) this.#unread.unshift(part.subarray(missing));
      missing -= Math.min(missing, part.length);
    }
    this.#unreadBytes -= count;
    const taken = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    if (this.#taken.length < 1000) this.#taken += taken.toString("latin1", 0, 1000);
    return taken;
  }

  /** Everything until the end of the connection. */
  async rest(): Promise<{ end: ConnectionEnd; text: string }> {
    const end = await this.ended;
    return { end, text: this.unread };
  }

  async #body(head: RawHead, method: string): Promise<Omit<RawAnswer, keyof RawHead | "interims">> {
    const lengths = fieldValues(head.fields, "content-length");
    const codings = fieldValues(head.fields, "transfer-encoding");
    if (lengths.length > 1 || codings.length > 1 || (lengths.length > 0 && codings.length > 0)) {
      throw new Error(`a body framed twice: ${JSON.stringify(head.fields)}`);
    }
    const nothing = { body: Buffer.alloc(0), chunks: [], trailers: [] };
    if (method === "HEAD" || head.status === 204 || head.status === 304) {
      if (codings.length > 0 && head.status === 204) throw new Error("a 204 with a transfer coding");
      return { framing: "none", ...nothing };
    }
    if (codings.length > 0) {
      if (codings[0] !== "chunked") throw new Error(`an odd transfer coding: ${codings[0]}`);
      return await this.#chunked();
    }
    if (lengths.length > 0) {
      if (!/^[0-9]+$/.test(lengths[0]!)) throw new Error(`an odd length: ${lengths[0]}`);
      return { ...nothing, framing: "length", body: await this.bytes(Number(lengths[0])) };
    }
    const { end, text } = await this.rest();
    if (end === "rst") throw new Cut(end, this.#taken + text);
    this.#unread = [];
    this.#unreadBytes = 0;
    return { ...nothing, framing: "close", body: Buffer.from(text, "latin1") };
  }

  async #chunked(): Promise<Omit<RawAnswer, keyof RawHead | "interims">> {
    const chunks: Buffer[] = [];
    for (;;) {
      const line = await this.#line();
      if (!/^[0-9a-fA-F]+$/.test(line)) throw new Error(`an odd chunk size: ${JSON.stringify(line)}`);
      const size = parseInt(line, 16);
      if (size === 0) break;
      chunks.push(await this.bytes(size));
      if ((await this.bytes(2)).toString("latin1") !== "\r\n") throw new Error("a chunk without its CRLF");
    }
    return { framing: "chunked", body: Buffer.concat(chunks), chunks, trailers: await this.#fields() };
  }

  async #fields(): Promise<string[]> {
    const fields: string[] = [];
    for (;;) {
      const line = await this.#line();
      if (line === "") return fields;
      const match = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([^\r\n]*)$/.exec(line);
      if (!match) throw new Error(`no field line: ${JSON.stringify(line)}`);
      fields.push(match[1]!, match[2]!);
    }
  }

  /** A line without its CRLF. */
  async #line(): Promise<string> {
    for (;;) {
      const end = this.#unread[0]?.indexOf("\n") ?? -1;
      if (end >= 0) {
        const line = (await this.bytes(end + 1)).toString("latin1");
        if (!line.endsWith("\r\n")) throw new Error(`a line without CR: ${JSON.stringify(line)}`);
        return line.slice(0, -2);
      }
      if (this.#unread.length > 1) this.#unread.splice(0, 2, Buffer.concat(this.#unread.slice(0, 2)));
      else await this.#more();
    }
  }

  async #more(): Promise<void> {
    if (this.#end) throw new Cut(this.#end, this.#taken + this.unread.slice(0, 1000));
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}

/** A connection that stays half open when the other end has ended. */
export async function dialRaw(port: number, host: string): Promise<Socket> {
  const socket = connect({ port, host, allowHalfOpen: true, noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** Names and values in turn, of lines as on the wire: "Name: value". */
export function rawFields(...lines: string[]): string[] {
  return lines
    .flatMap((line) => line.split("\r\n"))
    .flatMap((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
    });
}

/** All values of a field. */
export function fieldValues(fields: string[], name: string): string[] {
  return fields.filter((_, i) => i % 2 === 1 && fields[i - 1]!.toLowerCase() === name.toLowerCase());
}

/** The value of a field; `undefined` without it. Throws if there are several. */
export function fieldValue(fields: string[], name: string): string | undefined {
  const values = fieldValues(fields, name);
  if (values.length > 1) throw new Error(`${values.length} fields of ${name}`);
  return values[0];
}
