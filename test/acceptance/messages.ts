/** The plain messages that most cases are made of. */
import { expect } from "vitest";
import { fieldValue, rawFields, type RawAnswer } from "../support/raw-visitor.ts";
import type { MarkedVisitor } from "./marked-visitor.ts";
import type { Tunnel } from "./tunnel.ts";

export const HOST = "Host: app.localhost";

/** What the edge says to the local service of a visitor's connection. */
export const FORWARDED = [
  "X-Forwarded-For: 127.0.0.1",
  "X-Forwarded-Proto: http",
  "X-Forwarded-Host: app.localhost",
  "Forwarded: for=127.0.0.1;host=app.localhost;proto=http",
  "X-Real-IP: 127.0.0.1",
];

/** What the client says of its own connection with the local service. */
export const KEEP_ALIVE = "Connection: keep-alive";
export const CLOSE = "Connection: close";

/** Every printable byte beyond ASCII, one character each. */
export const ALL_LATIN1 = Array.from({ length: 96 }, (_, i) => String.fromCharCode(160 + i)).join("");

/** @param start such as "POST /x" */
export function request(start: string, fields: string[] = [], body = ""): string {
  return `${start} HTTP/1.1\r\n${[HOST, ...fields].join("\r\n")}\r\n\r\n${body}`;
}

export function get(target = "/", ...fields: string[]): string {
  return request(`GET ${target}`, fields);
}

/** A chunked body, each piece a chunk. */
export function chunked(...pieces: string[]): string {
  return [...pieces, ""].map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join("");
}

export function ok(body: string, ...fields: string[]): string {
  return `HTTP/1.1 200 OK\r\n${[...fields, `Content-Length: ${body.length}`].join("\r\n")}\r\n\r\n${body}`;
}

/** The text in UTF-8, one character a byte. */
export function utf8(text: string): string {
  return Buffer.from(text).toString("latin1");
}

/** Fields as they arrive at the local service, behind a request's own. */
export function forwarded(...own: string[]): string[] {
  return rawFields(...own, ...FORWARDED, KEEP_ALIVE);
}

/** As `forwarded`, with a body: nothing may follow on its connection. */
export function forwardedWithBody(...own: string[]): string[] {
  return rawFields(...own, ...FORWARDED, CLOSE);
}

/** An answer's fields without what the server says of its own connection with the visitor. */
export function withoutKeepAlive(fields: string[]): string[] {
  return fields.filter((_, i) => {
    const name = fields[i - (i % 2)]!.toLowerCase();
    return name !== "connection" && name !== "keep-alive";
  });
}

/** As `expectInStep`, or the answer has said that the connection ends, and it does. */
export async function expectInStepOrOver(
  tunnel: Tunnel,
  visitor: MarkedVisitor,
  answer: RawAnswer,
): Promise<void> {
  if (fieldValue(answer.fields, "connection") !== "close") return expectInStep(tunnel, visitor);
  expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
}

/** The visitor's next request on its connection is answered as it should be: nothing is left over of those before. */
export async function expectInStep(tunnel: Tunnel, visitor: MarkedVisitor): Promise<void> {
  tunnel.backend.answer(ok("in step"));
  visitor.request(get("/next"));
  const answer = await visitor.answer();
  expect([answer.status, answer.body.toString()]).toEqual([200, "in step"]);
  expect(visitor.unread).toBe("");
}
