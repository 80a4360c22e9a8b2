import type { RawConnection } from "../support/raw-backend.ts";

/** A request as the local service got it, byte for byte. */
export interface AuditedRequest {
  /** "GET / HTTP/1.1" */
  readonly line: string;
  readonly method: string;
  readonly target: string;
  /** Names and values in turn, one character a byte. */
  readonly fields: string[];
  readonly framing: "none" | "length" | "chunked";
  /** Octets of the body that have come. */
  bodyBytes: number;
  /** What of the body has been kept: all, unless `keep` was turned off. */
  body: Buffer[];
  keep: boolean;
  trailers: string[];
  complete: boolean;
}

export interface AuditEvents {
  /** A head has come. @param headEnd octets of the connection up to its end */
  request(request: AuditedRequest, headEnd: number): void;
  anomaly(anomaly: string): void;
  /** A FIN has come within a message. */
  cutShort(anomaly: string): void;
}

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) (\\S+) HTTP/1\\.1$`);
const FIELD_LINE = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`);
/** What the hop to the local service must not have from the visitor's. */
const HOP_BY_HOP = new Set(["keep-alive", "proxy-authorization", "proxy-connection", "te", "http2-settings"]);
const MAX_HEAD = 1024 * 1024;

/**
 * Reads what arrives on one connection as strictly as RFC 9112 lets a server be, beside whoever plays the service. What
 * is not plainly one message behind another is an anomaly; behind the first one nothing more is read of the connection.
 */
export class RequestAudit {
  readonly #connection: RawConnection;
  readonly #on: AuditEvents;
  #state: "head" | "length" | "size" | "chunk" | "chunk-end" | "trailers" | "switching" | "over" = "head";
  #unread: Buffer = Buffer.alloc(0);
  /** Octets of the connection before `#unread`. */
  #offset = 0;
  #left = 0;
  #request: AuditedRequest | undefined;

  constructor(connection: RawConnection, on: AuditEvents) {
    this.#connection = connection;
    this.#on = on;
    // Before the connection itself, which wakes those who wait for what is found here.
    connection.socket.prependListener("data", (chunk: Buffer) => this.#push(chunk));
    connection.socket.on("end", () => this.#ended());
  }

  /** What follows is no HTTP, or is not to be looked at. */
  stop(): void {
    this.#state = "over";
    this.#unread = Buffer.alloc(0);
  }

  #push(chunk: Buffer): void {
    if (this.#state === "over") return;
    this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk]);
    while (this.#step());
  }

  /** Whether there may be more to do with what is unread. */
  #step(): boolean {
    switch (this.#state) {
      case "head":
        return this.#readHead();
      case "length":
      case "chunk":
        return this.#readBody();
      case "size":
        return this.#readSize();
      case "chunk-end":
        return this.#readChunkEnd();
      case "trailers":
        return this.#readTrailer();
      case "switching":
        return this.#readBehindUpgrade();
      case "over":
        break;
    }
    return false;
  }

  #readHead(): boolean {
    if (this.#unread.length === 0) return false;
    const end = this.#unread.indexOf("\r\n\r\n");
    const early = end < 0 ? this.#unread : this.#unread.subarray(0, end);
    const text = early.toString("latin1");
    if (/(?:^|[^\r])\n/.test(text)) return this.#anomaly(`a bare LF in ${quoted(text)}`);
    if (/\r[^\n]/.test(text)) return this.#anomaly(`a bare CR in ${quoted(text)}`);
    if (end < 0 && text.length > MAX_HEAD) return this.#anomaly("a head without end");
    if (end < 0) return false;
    this.#take(end + 4);
    const [line = "", ...lines] = text.split("\r\n");
    const match = REQUEST_LINE.exec(line);
    if (!match) return this.#anomaly(`bytes that are no request: ${quoted(text)}`);
    const fields: string[] = [];
    for (const each of lines) {
      const field = FIELD_LINE.exec(each);
      if (!field) return this.#anomaly(`no field line: ${quoted(each)}`);
      fields.push(field[1]!, field[2]!);
    }
    return this.#begin({ line, method: match[1]!, target: match[2]!, fields });
  }

  #begin(head: Pick<AuditedRequest, "line" | "method" | "target" | "fields">): boolean {
    const { method, target, fields } = head;
    const values = (wanted: string) =>
      fields.filter((_, i) => i % 2 === 1 && fields[i - 1]!.toLowerCase() === wanted);
    const lengths = values("content-length");
    const codings = values("transfer-encoding");
    const upgrades = values("upgrade");
    const inDoubt =
      lengths.length + codings.length > 1 ||
      lengths.some((length) => !/^[0-9]{1,15}$/.test(length)) ||
      codings.some((coding) => coding !== "chunked");
    if (inDoubt) return this.#anomaly(`a body framed in doubt: ${quoted(fields.join("|"))}`);
    if (values("host").length !== 1) this.#on.anomaly(`${values("host").length} Host fields`);
    if (!target.startsWith("/") && !(target === "*" && method === "OPTIONS"))
      this.#on.anomaly(`a target that is not in origin-form: ${quoted(target)}`);
    const connection = values("connection").join(", ").toLowerCase();
    if (!["", "close", "keep-alive", "upgrade"].includes(connection))
      this.#on.anomaly(`the visitor's own Connection: ${quoted(connection)}`);
    if (upgrades.length > 0 !== (connection === "upgrade"))
      this.#on.anomaly("of Upgrade and Connection: upgrade there is only one");
    for (let i = 0; i < fields.length; i += 2)
      if (HOP_BY_HOP.has(fields[i]!.toLowerCase())) this.#on.anomaly(`a hop-by-hop field: ${fields[i]}`);

    this.#left = Number(lengths[0] ?? 0);
    const framing = codings.length > 0 ? "chunked" : lengths.length > 0 ? "length" : "none";
    const start = { bodyBytes: 0, body: [], keep: true, trailers: [], complete: false };
    this.#request = { ...head, framing, ...start };
    this.#state = framing === "chunked" ? "size" : "length";
    const request = this.#request;
    if (this.#state === "length" && this.#left === 0) this.#finish(upgrades.length > 0);
    this.#on.request(request, this.#offset);
    return true;
  }

  #readBody(): boolean {
    const part = this.#take(Math.min(this.#left, this.#unread.length));
    if (part.length === 0) return false;
    const request = this.#request!;
    request.bodyBytes += part.length;
    if (request.keep) request.body.push(part);
    this.#left -= part.length;
    if (this.#left > 0) return false;
    if (this.#state === "chunk") this.#state = "chunk-end";
    else this.#finish(request.fields.some((name, i) => i % 2 === 0 && name.toLowerCase() === "upgrade"));
    return true;
  }

  #readSize(): boolean {
    const line = this.#line();
    if (line === undefined) return false;
    if (!/^[0-9a-fA-F]{1,15}$/.test(line)) return this.#anomaly(`an odd chunk size: ${quoted(line)}`);
    this.#left = parseInt(line, 16);
    this.#state = this.#left === 0 ? "trailers" : "chunk";
    return true;
  }

  #readChunkEnd(): boolean {
    const end = this.#line();
    if (end === undefined) return false;
    if (end !== "") return this.#anomaly(`a chunk longer than its size: ${quoted(end)}`);
    this.#state = "size";
    return true;
  }

  #readTrailer(): boolean {
    const line = this.#line();
    if (line === undefined) return false;
    if (line === "") {
      this.#finish(false);
      return true;
    }
    const field = FIELD_LINE.exec(line);
    if (!field || /^(content-length|transfer-encoding|host)$/i.test(field[1]!))
      return this.#anomaly(`no trailer: ${quoted(line)}`);
    this.#request!.trailers.push(field[1]!, field[2]!);
    return true;
  }

  /** Bytes of the other protocol; or of whoever took it for granted that the service would switch. */
  #readBehindUpgrade(): boolean {
    if (this.#unread.length === 0) return false;
    if (this.#connection.switched) {
      this.stop();
      return false;
    }
    this.#state = "head";
    return true;
  }

  #finish(upgrade: boolean): void {
    this.#request!.complete = true;
    this.#request = undefined;
    this.#state = upgrade ? "switching" : "head";
  }

  #line(): string | undefined {
    const end = this.#unread.indexOf("\n");
    if (end < 0) return undefined;
    const line = this.#take(end + 1).toString("latin1");
    if (line.endsWith("\r\n") && !line.slice(0, -2).includes("\r")) return line.slice(0, -2);
    this.#anomaly(`a line that does not end in CRLF: ${quoted(line)}`);
    return undefined;
  }

  #take(bytes: number): Buffer {
    const taken = this.#unread.subarray(0, bytes);
    this.#unread = this.#unread.subarray(bytes);
    this.#offset += bytes;
    return taken;
  }

  #ended(): void {
    if (this.#state === "over" || this.#state === "switching") return;
    if (this.#state !== "head") this.#on.cutShort(`a FIN within the body of ${this.#request!.line}`);
    else if (this.#unread.length > 0)
      this.#on.cutShort(`a FIN within a head: ${quoted(this.#unread.toString("latin1"))}`);
    this.stop();
  }

  #anomaly(anomaly: string): false {
    this.stop();
    this.#on.anomaly(anomaly);
    return false;
  }
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text);
}
