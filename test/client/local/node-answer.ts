import { Agent, type IncomingMessage, request } from "node:http";
import { Duplex } from "node:stream";
import { encodeFields, encodeResponseHead } from "../../../link/http-head.ts";
import { piecesOf, type ReadAnswer, type Sent } from "./read-answer.ts";

/** What node:http, and llhttp within, makes of the bytes of one answer. */
export async function readByNode(
  text: string,
  { method = "GET", cuts = [], ends = true }: Sent = {},
): Promise<ReadAnswer & { error: string }> {
  const read: ReadAnswer & { error: string } = {
    outcome: "cut",
    interims: [],
    head: undefined,
    body: "",
    trailers: "",
    error: "",
  };
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, written) => written() });
  const agent = new Agent();
  agent.createConnection = () => socket;
  const asked = request({
    agent,
    method,
    maxHeaderSize: 64 * 1024,
    insecureHTTPParser: false,
    setHost: false,
    headers: ["Connection", "keep-alive"],
  });
  asked.maxHeadersCount = 0;
  asked.on("information", (head: IncomingMessage) => read.interims.push(headOf(head)));
  asked.on("upgrade", (head, _socket, early) => {
    read.outcome = "switched";
    read.head = headOf(head);
    read.body = early.toString("latin1");
  });
  asked.on("response", (answer) => {
    read.head = headOf(answer);
    answer.on("data", (part: Buffer) => (read.body += part.toString("latin1")));
    answer.on("end", () => {
      if (!answer.complete || read.outcome === "broken") return;
      read.outcome = "whole";
      read.trailers = encodeFields(answer.rawTrailers).toString("latin1");
    });
    answer.on("error", () => {});
  });
  asked.on("error", (error: NodeJS.ErrnoException) => {
    if (!error.code?.startsWith("HPE_")) return;
    read.outcome = "broken";
    read.error = error.message;
  });
  asked.end();
  // The request takes its socket in the next turn.
  await turns(1);
  for (const piece of piecesOf(Buffer.from(text, "latin1"), cuts)) socket.push(piece);
  await turns(2);
  if (ends) socket.push(null);
  await turns(2);
  socket.destroy();
  return read;
}

function headOf({ statusCode = 0, statusMessage = "", rawHeaders }: IncomingMessage): string {
  return encodeResponseHead({ status: statusCode, reason: statusMessage, fields: rawHeaders }).toString(
    "latin1",
  );
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
