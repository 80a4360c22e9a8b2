/** What cases about hidden requests share. A hidden request has no mark: if it arrives, the case is charged with it. */
import { expect } from "vitest";
import type { Tunnel } from "./tunnel.ts";
import { get, ok } from "./messages.ts";

export const HIDDEN = "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

/** The local service answers each request with its own target. */
export function answerWithTarget(tunnel: Tunnel): void {
  tunnel.backend.serve(async (request) => {
    await request.body();
    await request.connection.send(request.method === "HEAD" ? "HTTP/1.1 200 OK\r\n\r\n" : ok(request.target));
  });
}

/** Two other visitors, whose requests go over the same connections to the local service, get their own answers. */
export async function expectOthersUnharmed(tunnel: Tunnel): Promise<void> {
  answerWithTarget(tunnel);
  const others = [await tunnel.visitor(), await tunnel.visitor()];
  for (const [i, other] of others.entries()) other.request(get(`/own-of-${i}`));
  for (const [i, other] of others.entries()) {
    const { status, body } = await other.answer();
    expect([status, body.toString()]).toEqual([200, `/own-of-${i}`]);
    expect(other.unread).toBe("");
  }
}

/** The bytes are answered by the edge alone, once, and nothing that follows on the connection is looked at. */
export async function expectRefused(
  tunnel: Tunnel,
  bytes: string,
  statuses: number[] = [400],
): Promise<void> {
  answerWithTarget(tunnel);
  const visitor = (await tunnel.visitor()).send(bytes);
  expect(statuses).toContain((await visitor.answer()).status);
  visitor.send(HIDDEN);
  expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
  expect(tunnel.backend.requests).toEqual([]);
  await expectOthersUnharmed(tunnel);
}

export interface OneRequest {
  target: string;
  body: string;
}

/** The request arrives as one, and the next one on its connection as another. @param sent not marked yet */
export async function expectOneRequest(
  tunnel: Tunnel,
  sent: string,
  { target, body }: OneRequest,
): Promise<void> {
  answerWithTarget(tunnel);
  const visitor = await tunnel.request(sent, get("/pipelined"));
  expect((await visitor.answer()).status).toBe(200);
  expect((await visitor.answer()).body.toString()).toBe("/pipelined");
  expect(visitor.unread).toBe("");
  expect(tunnel.backend.requests.map((each) => each.target)).toEqual([target, "/pipelined"]);
  expect((await tunnel.backend.requests[0]!.body()).bytes.toString("latin1")).toBe(body);
  await expectOthersUnharmed(tunnel);
}

/** Where HTTP lets a server be stricter than it must: one of the two. */
export async function expectRefusedOrOne(tunnel: Tunnel, sent: string, one: OneRequest): Promise<void> {
  answerWithTarget(tunnel);
  const visitor = await tunnel.request(sent, get("/pipelined"));
  const { status } = await visitor.answer();
  if (status === 200) {
    expect((await visitor.answer()).body.toString()).toBe("/pipelined");
    expect(tunnel.backend.requests.map((each) => each.target)).toEqual([one.target, "/pipelined"]);
    expect((await tunnel.backend.requests[0]!.body()).bytes.toString("latin1")).toBe(one.body);
  } else {
    expect(status).toBe(400);
    expect(await visitor.rest()).toEqual({ end: "fin", text: "" });
    expect(tunnel.backend.requests).toEqual([]);
  }
  await expectOthersUnharmed(tunnel);
}
