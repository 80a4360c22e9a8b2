import * as fc from "fast-check";
import type { Control, ResetCode, TargetAnswer } from "../../link/messages.ts";

const RESET_CODES: ResetCode[] = ["CANCELLED", "REFUSED", "TIMEOUT", "OVERLOADED", "INTERNAL", "COMPLETE"];

const uint32 = fc.oneof(fc.nat(20), fc.constantFrom(0x7fff_ffff, 0xffff_ffff), fc.nat(0xffff_ffff));
const text = fc.string({ unit: "grapheme", maxLength: 12 });
const bytes = fc.uint8Array({ maxLength: 12 }).map((array) => Buffer.from(array));
const kind = fc.constant("HTTP" as const);

const tunnelRequest = fc.record({ name: text, kind, hostname: text, subdomain: text, target: text });
const tunnel = fc.record(
  { id: uint32, request: uint32, name: text, kind, url: text, target: text },
  { requiredKeys: ["id", "name", "kind", "url", "target"] },
);
const features = fc.array(text, { maxLength: 3 });
const tunnelState = fc.record({
  tunnel: uint32,
  allowed: fc.boolean(),
  answer: fc.constantFrom<TargetAnswer[]>("NOT_LOOKED_AT", "ANSWERS", "NO_ANSWER"),
  reason: text,
});

/** Any message that an end may write, whether or not it makes sense where it comes. */
export const controlMessage: fc.Arbitrary<Control> = fc.oneof(
  said(
    "hello",
    fc.record({
      protocolMin: uint32,
      protocolMax: uint32,
      keyId: bytes,
      secret: bytes,
      clientId: text,
      version: text,
      sessionToken: text,
      wanted: fc.array(tunnelRequest, { maxLength: 3 }),
      streamCredit: uint32,
      features,
    }),
  ),
  said(
    "welcome",
    fc.record({
      protocol: uint32,
      sessionToken: text,
      version: text,
      connections: uint32,
      tunnels: fc.array(tunnel, { maxLength: 3 }),
      streamCredit: uint32,
      features,
    }),
  ),
  said("refused", fc.record({ code: text, message: text })),
  said("tunnels", fc.record({ tunnels: fc.array(tunnel, { maxLength: 3 }) })),
  said("drain", fc.record({ graceMs: uint32 })),
  said("tunnelStates", fc.record({ tunnels: fc.array(tunnelState, { maxLength: 3 }) })),
  said("visitorLeft", fc.record({ visitorConnection: uint32 })),
  ...streamMessages(uint32),
);

/** Any message about streams whose ids are these. */
export function streamMessages(stream: fc.Arbitrary<number>): fc.Arbitrary<Control>[] {
  return [
    said("ping", fc.record({ id: uint32 })),
    said("pong", fc.record({ id: uint32 })),
    said(
      "open",
      fc.record({
        stream,
        tunnel: uint32,
        kind: fc.constantFrom("HTTP", "HTTP", "UDP"),
        requestId: text,
        visitor: text,
        head: bytes,
        end: fc.boolean(),
        credit: fc.constantFrom(0, 0, 1, 70_000),
        visitorConnection: uint32,
      }),
    ),
    said("accept", fc.record({ stream, head: bytes, end: fc.boolean(), bound: fc.boolean() })),
    said("interim", fc.record({ stream, head: bytes })),
    said("credit", fc.record({ stream, bytes: uint32 })),
    said("reset", fc.record({ stream, code: fc.constantFrom(...RESET_CODES), detail: text })),
  ];
}

function said(message: Control["message"], body: fc.Arbitrary<object>): fc.Arbitrary<Control> {
  return body.map((body) => ({ message, [message]: body }) as unknown as Control);
}
