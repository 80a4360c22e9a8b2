import { request, type ClientRequest, type IncomingMessage } from "node:http";
import { onTestFinished } from "vitest";
import type { Tunnel } from "./tunnel.ts";

/** A visitor of node:http, for bodies that are not to be kept: its answer is read when the case reads it. */
export function visitOverHttp(
  tunnel: Tunnel,
  options: { method?: string; headers?: Record<string, string> } = {},
): { outgoing: ClientRequest; answer: Promise<IncomingMessage> } {
  const outgoing = request({
    ...tunnel.address,
    method: options.method,
    headers: { Host: "app.localhost", ...tunnel.mark(), ...options.headers },
    agent: false,
  });
  onTestFinished(() => void outgoing.destroy());
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once("response", resolve).on("error", reject);
  });
  return { outgoing, answer };
}
