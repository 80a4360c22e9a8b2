import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import { encodeResponseHead, type ResponseHead } from "../../../link/http-head.ts";
import { joinSocket } from "../../../link/join-socket.ts";
import type { LinkStream } from "../../../link/stream.ts";
import { switchingFields } from "./forwarding.ts";
import { CHUNKED_UPGRADE, type Refusal } from "./refusals.ts";
import type { RequestFacts } from "./request-check.ts";
import { Visit, type UpgradeOffer, type VisitContext } from "./visit.ts";
import type { VisitorConnection } from "./visitor-connection.ts";

/** How much a visitor may send ahead of the 101 before it is held back. */
const EARLY_BYTES = 64 * 1024;

/** The protocols to pass on. h2c stays behind: inside it requests would come that nobody has looked at. */
export function protocolsToOffer(facts: RequestFacts): string[] {
  // RFC 9110 section 7.8: an HTTP/1.0 request asks for none.
  if (facts.http10) return [];
  return facts.upgrade.filter((protocol) => protocol.split("/", 1)[0]!.toLowerCase() !== "h2c");
}

/**
 * A request that asks for an upgrade. Node has let go of the socket: whatever answer comes ends the connection, and a 101
 * makes it one raw connection with the stream.
 */
export function visitUpgrade(options: {
  context: VisitContext;
  connection: VisitorConnection;
  request: IncomingMessage;
  checked: RequestFacts | Refusal;
  protocols: readonly string[];
  /** What has been read behind the head. */
  early: Buffer;
}): void {
  const { connection, protocols } = options;
  const { socket } = connection;
  let { checked } = options;
  if (!("sentence" in checked) && checked.bodyLength < 0) checked = CHUNKED_UPGRADE;
  const bodyLength = "sentence" in checked ? 0 : checked.bodyLength;
  const input = new UpgradeInput(socket, bodyLength);
  const offer: UpgradeOffer = {
    protocols,
    switched(head: ResponseHead, stream: LinkStream): boolean {
      if (!isOffered(head, protocols)) return false;
      connection.release();
      const early = input.release();
      const { status, reason, fields } = head;
      socket.write(encodeResponseHead({ status, reason, fields: switchingFields(fields) }));
      socket.write("\r\n");
      joinSocket(stream, socket, { early });
      return true;
    },
    refused: () => input.drop(),
  };
  const visit = new Visit({
    ...options,
    checked,
    upgrade: offer,
    body: input.body,
  });
  connection.take({
    begin() {
      visit.begin();
      input.start(options.early);
    },
    get received() {
      return visit.received;
    },
    get bodyBytes() {
      return visit.bodyBytes;
    },
    get answered() {
      return visit.answered;
    },
    writable: () => visit.writable(),
    broken: (refusal) => visit.broken(refusal),
    visitorLeft: () => visit.visitorLeft(),
  });
}

/** RFC 9110 section 7.8: a server switches to nothing but what was asked for. */
function isOffered(head: ResponseHead, protocols: readonly string[]): boolean {
  const offered = protocols.map((protocol) => protocol.toLowerCase());
  for (let i = 0; i + 1 < head.fields.length; i += 2) {
    if (head.fields[i]!.toLowerCase() !== "upgrade") continue;
    for (const protocol of head.fields[i + 1]!.split(",")) {
      if (!offered.includes(protocol.trim().toLowerCase())) return false;
    }
  }
  return true;
}

/** What a visitor sends before it knows whether its upgrade is granted: the request's body, then early bytes. */
class UpgradeInput {
  /** Absent for a request without one. */
  readonly body: Readable | undefined;
  readonly #socket: Socket;
  #bodyLeft: number;
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #dropping = false;

  constructor(socket: Socket, bodyLength: number) {
    this.#socket = socket;
    this.#bodyLeft = bodyLength;
    if (bodyLength > 0) this.body = new Readable({ read: () => socket.resume() });
  }

  start(first: Buffer): void {
    if (first.length > 0) this.#take(first);
    this.#socket.on("data", this.#take);
  }

  /** Reads and forgets whatever comes. */
  drop(): void {
    this.#dropping = true;
    this.#early = [];
    this.#socket.resume();
  }

  /** Leaves the socket to another reader, and gives what has come early. */
  release(): Buffer {
    this.#socket.off("data", this.#take);
    this.#socket.resume();
    return Buffer.concat(this.#early);
  }

  readonly #take = (chunk: Buffer): void => {
    if (this.#dropping) return;
    const ofBody = chunk.subarray(0, this.#bodyLeft);
    if (ofBody.length > 0) {
      this.#bodyLeft -= ofBody.length;
      if (!this.body!.push(ofBody)) this.#socket.pause();
      if (this.#bodyLeft === 0) this.body!.push(null);
    }
    const early = chunk.subarray(ofBody.length);
    if (early.length === 0) return;
    this.#early.push(early);
    this.#earlyBytes += early.length;
    if (this.#earlyBytes > EARLY_BYTES) this.#socket.pause();
  };
}
