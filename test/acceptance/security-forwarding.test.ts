import { describe, expect } from "vitest";
import { rawFields } from "../support/raw-visitor.ts";
import { aboutTheVisitor } from "./about-the-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { chunked, FORWARDED, get, HOST, KEEP_ALIVE, ok, request } from "./messages.ts";

describe("what a visitor says of itself is not believed", () => {
  acceptance.for([
    "X-Forwarded-For: 203.0.113.66",
    "x-forwarded-for: 203.0.113.66",
    "X-FORWARDED-FOR: 203.0.113.66",
    "X-Forwarded-For: 127.0.0.1, 203.0.113.66",
    "X-Forwarded-For: 203.0.113.66\r\nX-Forwarded-For: 203.0.113.67",
    "X-Forwarded-For:",
    "X-Forwarded-For: unknown",
    "X-Forwarded-For: <script>alert(1)</script>",
    "X_Forwarded_For: 203.0.113.66",
    "X-Forwarded_For: 203.0.113.66",
    "x_forwarded-for: 203.0.113.66",
    "X-Forwarded-Proto: https",
    "X_Forwarded_Proto: https",
    "X-Forwarded-Protocol: https",
    "X-Forwarded-Scheme: https",
    "X-Forwarded-Ssl: on",
    "X-Forwarded-Host: admin.localhost",
    "X_Forwarded_Host: admin.localhost",
    "X-Forwarded-Server: admin.localhost",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /admin",
    "X_Forwarded_Prefix: /admin",
    "X-Forwarded-Path: /admin",
    "X-Forwarded-By: 203.0.113.66",
    "X-Forwarded-User: admin",
    "X-Forwarded-Email: admin@localhost",
    "X-Forwarded-Client-Cert: Subject=admin",
    "X-Forwarded-: x",
    "Forwarded: for=203.0.113.66;proto=https;host=admin.localhost",
    "FORWARDED: for=203.0.113.66",
    'Forwarded: for="[2001:db8::66]"\r\nforwarded: for=203.0.113.66',
    "X-Real-IP: 203.0.113.66",
    "X-Real-Ip: 203.0.113.66",
    "x-real-ip: 203.0.113.66",
    "X_REAL_IP: 203.0.113.66",
    "X-Real_IP: 203.0.113.66",
    "X_Real-Ip: 203.0.113.66\r\nX-Real-IP: 203.0.113.67",
    // Nor may it take away what the server says.
    "Connection: X-Forwarded-For",
    "Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded",
    "Connection: keep-alive, forwarded\r\nForwarded: for=203.0.113.66",
  ])("%j", async (lines, { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(request("GET /", lines.split("\r\n")));
    expect((await visitor.answer()).status).toBe(200);
    expect(aboutTheVisitor(tunnel.backend.requests[0]!.fields)).toEqual(FORWARDED);
  });

  acceptance("nor in trailers", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const spoofed = [
      "X-Forwarded-For: 203.0.113.66",
      "X_Real_IP: 203.0.113.66",
      "FORWARDED: for=203.0.113.66",
    ];
    const body = `${chunked("x").slice(0, -2)}${[...spoofed, "X-Sum: 1"].join("\r\n")}\r\n\r\n`;
    const visitor = await tunnel.request(request("POST /", ["Transfer-Encoding: chunked"], body));
    expect((await visitor.answer()).status).toBe(200);
    const [seen] = tunnel.backend.requests;
    expect(aboutTheVisitor(seen!.fields)).toEqual(FORWARDED);
    expect((await seen!.body()).trailers).toEqual(rawFields("X-Sum: 1"));
  });

  acceptance("nor with an upgrade", async ({ tunnel }) => {
    const arrived = tunnel.backend.next();
    const spoofed = ["X-Forwarded-For: 203.0.113.66", "X_Forwarded_Proto: https", "X-Real-IP: 203.0.113.66"];
    const visitor = await tunnel.request(get("/", "Connection: Upgrade", "Upgrade: websocket", ...spoofed));
    const asked = await arrived;
    expect(aboutTheVisitor(asked.fields)).toEqual(FORWARDED);
    await asked.connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    expect((await visitor.answer()).status).toBe(403);
  });

  acceptance("and what it says otherwise stays as it is", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const own = ["X-Forward: a", "XForwarded-For: b", "Forwarded-For: c", "Via: 1.1 d", "X-Real: e"];
    const visitor = await tunnel.request(get("/", ...own));
    await visitor.answer();
    expect(tunnel.backend.requests[0]!.fields).toEqual(rawFields(HOST, ...own, ...FORWARDED, KEEP_ALIVE));
  });
});
