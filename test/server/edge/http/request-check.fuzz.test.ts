import type { IncomingMessage } from "node:http";
import * as fc from "fast-check";
import { expect } from "vitest";
import { checkRequest } from "../../../../server/edge/http/request-check.ts";
import { normalizeHostname, splitHostPort } from "../../../../server/routing/hostname.ts";
import { fuzz } from "../../../support/fuzz.ts";
import { parsedRequest } from "../../../support/http-arbitraries.ts";

const RULES = { maxFields: 20, defaultHost: "default.test" };

fuzz("a request that passes has one place, one length and one target", [parsedRequest], (request) => {
  const facts = checkRequest(request as IncomingMessage, RULES);
  if ("status" in facts) {
    expect([400, 431, 501, 505]).toContain(facts.status);
    return;
  }
  expect(facts.hostname.startsWith("[") || normalizeHostname(facts.hostname) === facts.hostname).toBe(true);
  expect(splitHostPort(facts.host)?.hostname).toBe(facts.hostname);
  expect(facts.target).toMatch(facts.target.startsWith("/") ? /^[^# \t]+$/ : /^\*$/);
  expect(Number.isSafeInteger(facts.bodyLength) && facts.bodyLength >= -1).toBe(true);
  expect(facts.http10 && facts.bodyLength === -1).toBe(false);
  for (const option of facts.connectionOptions) expect(option).toMatch(/^[^\s,A-Z](?:[^,A-Z]*[^\s,A-Z])?$/);
  for (const protocol of facts.upgrade) expect(protocol).toMatch(/^[^\s,](?:[^,]*[^\s,])?$/);
});

fuzz(
  "what passes does not hang on the case and order of its fields",
  [parsedRequest, fc.boolean()],
  (request, upper) => {
    const fields: string[] = [];
    for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
      const name = request.rawHeaders[i]!;
      fields.push(upper ? name.toUpperCase() : name.toLowerCase(), request.rawHeaders[i + 1]!);
    }
    const other = { ...request, rawHeaders: fields };
    expect(checkRequest(other as IncomingMessage, RULES)).toEqual(
      checkRequest(request as IncomingMessage, RULES),
    );
  },
);

fuzz("two Hosts, and more fields than allowed, never pass", [parsedRequest, fc.nat(20)], (request, at) => {
  const twoHosts = {
    ...request,
    rawHeaders: request.rawHeaders.toSpliced(2 * at, 0, "hOST", "a.test", "Host", "a.test"),
  };
  expect(checkRequest(twoHosts as IncomingMessage, RULES)).toHaveProperty("status");
  const many = { ...request, rawHeaders: Array<string>(2 * RULES.maxFields + 2).fill("x") };
  expect(checkRequest(many as IncomingMessage, RULES)).toHaveProperty("status");
});
