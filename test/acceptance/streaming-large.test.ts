import { describe, expect } from "vitest";
import { acceptance, WHOLE, whole } from "./acceptance.ts";
import { visitOverHttp } from "./http-visitor.ts";
import { ok, request } from "./messages.ts";
import { Firehose, PatternCheck } from "./pattern-stream.ts";
import { forgetPeak, peakBytes } from "./process-use.ts";
import type { Tunnel } from "./tunnel.ts";

const CHUNKED = "Transfer-Encoding: chunked";
const MIB = 1024 * 1024;
const TOTAL_BYTES = WHOLE ? 2048 * MIB : 64 * MIB;
/** Measured for 2 GiB: 155 MiB at most, of which an idle process has 80. */
const PEAK_BYTES = 256 * MIB;
const TIMEOUT_MS = WHOLE ? 300_000 : 60_000;

async function forgetPeaks(tunnel: Tunnel): Promise<void> {
  for (const { pid } of [tunnel.server, tunnel.client]) await forgetPeak(pid);
}

async function expectModestPeaks(tunnel: Tunnel): Promise<void> {
  for (const { pid } of [tunnel.server, tunnel.client]) expect(await peakBytes(pid)).toBeLessThan(PEAK_BYTES);
}

async function expectAnswerPassedOn(tunnel: Tunnel, framing: string): Promise<void> {
  await forgetPeaks(tunnel);
  const body = { stream: 21, totalBytes: TOTAL_BYTES, inChunks: framing === CHUNKED };
  tunnel.backend.serve(async ({ connection }) => {
    await connection.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
    void new Firehose(connection.socket, body);
  });
  const { outgoing, answer } = visitOverHttp(tunnel);
  outgoing.end();
  expect(await new PatternCheck(await answer, body).difference()).toBeUndefined();
  await expectModestPeaks(tunnel);
}

describe(`${TOTAL_BYTES / MIB} MiB arrive as they were sent, and neither process keeps them:`, () => {
  acceptance(
    "an answer by length",
    ({ tunnel }) => expectAnswerPassedOn(tunnel, `Content-Length: ${TOTAL_BYTES}`),
    TIMEOUT_MS,
  );

  whole("an answer in chunks", ({ tunnel }) => expectAnswerPassedOn(tunnel, CHUNKED), TIMEOUT_MS);

  acceptance(
    "an upload",
    async ({ tunnel }) => {
      await forgetPeaks(tunnel);
      const body = { stream: 22, totalBytes: TOTAL_BYTES };
      const arrived = tunnel.backend.next();
      const visitor = await tunnel.request(request("POST /", [`Content-Length: ${TOTAL_BYTES}`]));
      const asked = await arrived;
      asked.count();
      const check = new PatternCheck(asked.connection.socket, body);
      void new Firehose(visitor.socket, body);
      expect(await check.difference()).toBeUndefined();
      await asked.connection.send(ok("thanks"));
      expect((await visitor.answer()).status).toBe(200);
      await expectModestPeaks(tunnel);
    },
    TIMEOUT_MS,
  );
});
