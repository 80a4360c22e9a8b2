/**
 * Control messages of proto/tunnel.proto, read and written by hand: those about streams and visitors, of which there are many.
 * proto-loader turns objects into other objects for that; it still reads and writes what is said about the session,
 * which is seldom.
 */
import { linkService, type WireBatch } from "./contract.ts";
import type { Accept, Control, Credit, Interim, Kind, Open, Reset, ResetCode } from "./messages.ts";
import { malformed, WireReader } from "./wire-reader.ts";
import type { WireWriter } from "./wire-writer.ts";

/** `Batch.control`. */
export const CONTROL_FIELD = 1;

const PING = 6;
const PONG = 7;
const OPEN = 8;
const ACCEPT = 9;
const INTERIM = 10;
const CREDIT = 11;
const RESET = 12;
const VISITOR_LEFT = 14;

const NOTHING = Buffer.alloc(0);
/** By their numbers. */
const KINDS: readonly Kind[] = ["HTTP", "TCP", "UDP", "TLS"];
const RESET_CODES: readonly ResetCode[] = [
  "CANCELLED",
  "REFUSED",
  "UNREACHABLE",
  "NOT_ALLOWED",
  "TIMEOUT",
  "BAD_RESPONSE",
  "CONNECTION_LOST",
  "UNKNOWN_TUNNEL",
  "SHUTTING_DOWN",
  "OVERLOADED",
  "UNSUPPORTED",
  "INTERNAL",
  "COMPLETE",
];

/** Writes them as fields of a batch, before what the writer holds. */
export function writeControl(messages: Control[], into: WireWriter): void {
  for (let i = messages.length - 1; i >= 0; i--) {
    const before = into.length;
    const field = writeContent(messages[i]!, into);
    if (field === 0) continue;
    into.lengthField(field, into.length - before);
    into.lengthField(CONTROL_FIELD, into.length - before);
  }
}

/** @returns the field of Control that it is; 0 if it has been written whole */
function writeContent(control: Control, into: WireWriter): number {
  switch (control.message) {
    case "ping":
      into.numberField(1, control.ping.id);
      return PING;
    case "pong":
      into.numberField(1, control.pong.id);
      return PONG;
    case "open":
      writeOpen(control.open, into);
      return OPEN;
    case "accept":
      into.numberField(4, control.accept.bound ? 1 : 0);
      into.numberField(3, control.accept.end ? 1 : 0);
      into.bytesField(2, control.accept.head);
      into.numberField(1, control.accept.stream);
      return ACCEPT;
    case "interim":
      into.bytesField(2, control.interim.head);
      into.numberField(1, control.interim.stream);
      return INTERIM;
    case "credit":
      into.numberField(2, control.credit.bytes);
      into.numberField(1, control.credit.stream);
      return CREDIT;
    case "reset":
      into.textField(3, control.reset.detail);
      into.numberField(2, RESET_CODES.indexOf(control.reset.code));
      into.numberField(1, control.reset.stream);
      return RESET;
    case "visitorLeft":
      into.numberField(1, control.visitorLeft.visitorConnection);
      return VISITOR_LEFT;
    default:
      into.raw(linkService.Connect.requestSerialize({ control: [control] } as unknown as WireBatch));
      return 0;
  }
}

function writeOpen(open: Open, into: WireWriter): void {
  into.numberField(10, open.visitorConnection ?? 0);
  into.numberField(9, open.portOffset ?? 0);
  into.numberField(8, open.credit ?? 0);
  into.numberField(7, open.end ? 1 : 0);
  into.bytesField(6, open.head);
  into.textField(5, open.visitor);
  into.textField(4, open.requestId);
  into.numberField(3, KINDS.indexOf(open.kind));
  into.numberField(2, open.tunnel);
  into.numberField(1, open.stream);
}

/**
 * Reads one field `control` of a batch, with its tag.
 *
 * @throws TunnelError `protocol` if it is none
 */
export function readControl(field: Buffer): Control {
  const batch = new WireReader(field);
  batch.next();
  const control = batch.message();
  if (!control.next()) throw malformed("a control message without content");
  const read = readContent(control);
  if (!read) return readSessionMessage(field);
  if (control.next() || batch.next()) throw malformed("two control messages in one");
  return read;
}

function readContent(control: WireReader): Control | undefined {
  switch (control.field) {
    case PING:
      return { message: "ping", ping: { id: readNumber(control.message()) } };
    case PONG:
      return { message: "pong", pong: { id: readNumber(control.message()) } };
    case OPEN:
      return { message: "open", open: readOpen(control.message()) };
    case ACCEPT:
      return { message: "accept", accept: readAccept(control.message()) };
    case INTERIM:
      return { message: "interim", interim: readInterim(control.message()) };
    case CREDIT:
      return { message: "credit", credit: readCredit(control.message()) };
    case RESET:
      return { message: "reset", reset: readReset(control.message()) };
    case VISITOR_LEFT:
      return { message: "visitorLeft", visitorLeft: { visitorConnection: readNumber(control.message()) } };
    default:
      return undefined;
  }
}

/** Reads a message that holds nothing but a number. */
function readNumber(from: WireReader): number {
  let number = 0;
  while (from.next()) {
    if (from.field === 1) number = from.number();
    else from.skip();
  }
  return number;
}

function readOpen(from: WireReader): Open {
  const open: Open = {
    stream: 0,
    tunnel: 0,
    kind: KINDS[0]!,
    requestId: "",
    visitor: "",
    head: NOTHING,
    end: false,
    credit: 0,
    portOffset: 0,
    visitorConnection: 0,
  };
  while (from.next()) {
    if (from.field === 1) open.stream = from.number();
    else if (from.field === 2) open.tunnel = from.number();
    else if (from.field === 3) open.kind = named(KINDS, from.number());
    else if (from.field === 4) open.requestId = from.text();
    else if (from.field === 5) open.visitor = from.text();
    else if (from.field === 6) open.head = from.bytes();
    else if (from.field === 7) open.end = from.number() !== 0;
    else if (from.field === 8) open.credit = from.number();
    else if (from.field === 9) open.portOffset = from.number();
    else if (from.field === 10) open.visitorConnection = from.number();
    else from.skip();
  }
  return open;
}

function readAccept(from: WireReader): Accept {
  const accept: Accept = { stream: 0, head: NOTHING, end: false, bound: false };
  while (from.next()) {
    if (from.field === 1) accept.stream = from.number();
    else if (from.field === 2) accept.head = from.bytes();
    else if (from.field === 3) accept.end = from.number() !== 0;
    else if (from.field === 4) accept.bound = from.number() !== 0;
    else from.skip();
  }
  return accept;
}

function readInterim(from: WireReader): Interim {
  const interim: Interim = { stream: 0, head: NOTHING };
  while (from.next()) {
    if (from.field === 1) interim.stream = from.number();
    else if (from.field === 2) interim.head = from.bytes();
    else from.skip();
  }
  return interim;
}

function readCredit(from: WireReader): Credit {
  const credit: Credit = { stream: 0, bytes: 0 };
  while (from.next()) {
    if (from.field === 1) credit.stream = from.number();
    else if (from.field === 2) credit.bytes = from.number();
    else from.skip();
  }
  return credit;
}

function readReset(from: WireReader): Reset {
  const reset: Reset = { stream: 0, code: RESET_CODES[0]!, detail: "" };
  while (from.next()) {
    if (from.field === 1) reset.stream = from.number();
    else if (from.field === 2) reset.code = named(RESET_CODES, from.number());
    else if (from.field === 3) reset.detail = from.text();
    else from.skip();
  }
  return reset;
}

/** A number that this version does not know stays one, as with proto-loader. */
function named<Name extends string>(names: readonly Name[], value: number): Name {
  return names[value] ?? (value as unknown as Name);
}

function readSessionMessage(field: Buffer): Control {
  try {
    return linkService.Connect.requestDeserialize(field).control[0]!;
  } catch (cause) {
    throw malformed(`a message about the session: ${(cause as Error).message}`, cause);
  }
}
