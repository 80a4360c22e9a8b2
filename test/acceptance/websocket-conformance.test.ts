import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { afterAll, describe, expect } from "vitest";
import { WebSocketServer } from "ws";
import { fieldValue, RawVisitor, type ConnectionEnd } from "../support/raw-visitor.ts";
import { acceptance } from "./acceptance.ts";
import { get } from "./messages.ts";
import type { Tunnel } from "./tunnel.ts";
import { closeFrame, describeFrames } from "./websocket-frames.ts";
import {
  CONFORMANCE,
  MAX_PAYLOAD_BYTES,
  NORMAL,
  type ConformanceCase,
} from "./websocket-conformance-cases.ts";

/** Echoes; one for all cases, asked by visitors of the tunnel and by direct ones. */
const server = createServer((_, response) => response.end());
const webSockets = new WebSocketServer({
  server,
  maxPayload: MAX_PAYLOAD_BYTES,
  perMessageDeflate: { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
});
webSockets.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  // Said to the visitor, too, by a close frame.
  socket.on("error", () => {});
});
afterAll(() => webSockets.close());

/** All that a visitor sees of a server. */
interface Verdict {
  status: number;
  extensions: string | undefined;
  /** A line each. */
  frames: string[];
  end: ConnectionEnd;
}

async function verdictOf(visitor: RawVisitor, { frames, chopBytes }: ConformanceCase): Promise<Verdict> {
  const { status, fields } = await visitor.head();
  for (const each of [...frames, closeFrame(NORMAL)])
    for (let at = 0; at < each.length; at += chopBytes ?? each.length) {
      const chop = each.subarray(at, at + (chopBytes ?? each.length));
      // One that fails has met the server's end, which the verdict speaks of.
      await new Promise<void>((resolve) => visitor.socket.write(chop, () => resolve()));
    }
  const { end, text } = await visitor.rest();
  visitor.close();
  return {
    status,
    extensions: fieldValue(fields, "Sec-WebSocket-Extensions"),
    frames: describeFrames(Buffer.from(text, "latin1")),
    end,
  };
}

function handshake({ compressed }: ConformanceCase): string {
  return get(
    "/echo",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
    ...(compressed ? ["Sec-WebSocket-Extensions: permessage-deflate"] : []),
  );
}

/** A visitor of the local service itself. */
async function direct(tunnel: Tunnel, request: string): Promise<RawVisitor> {
  const { host, port } = tunnel.backend.target;
  const [[name, mark]] = Object.entries(tunnel.mark()) as [[string, string]];
  return (await RawVisitor.connect(port, host)).send(request.replace("\r\n", `\r\n${name}: ${mark}\r\n`));
}

/** The code of a server's close frame, as `describeFrames` shows it. */
function closeCode(line: string | undefined): number {
  const match = /^88 (\d+) (.*)$/.exec(line ?? "");
  if (!match) return NaN;
  return match[1] === "0" ? 1005 : parseInt(match[2]!.slice(0, 4), 16);
}

describe("a WebSocket server's verdict through the tunnel is the one that it gives directly:", () => {
  acceptance.for(CONFORMANCE.map((each) => [each.name, each] as const))(
    "%s",
    async ([, each], { tunnel }) => {
      tunnel.backend.handOver(server);
      const [directly, tunnelled] = await Promise.all([
        verdictOf(await direct(tunnel, handshake(each)), each),
        verdictOf(await tunnel.request(handshake(each)), each),
      ]);
      expect(tunnelled).toEqual(directly);
      // Were the server's own verdict not what the case is about, equality would say little.
      expect(directly).toMatchObject({ status: 101, end: "fin" });
      expect(closeCode(directly.frames.at(-1))).toBe(each.code);
      expect(directly.frames).toHaveLength(each.replies + 1);
    },
  );
});
