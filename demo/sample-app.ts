import { once } from "node:events";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { pathToFileURL } from "node:url";
import { WebSocketServer } from "ws";
import { renderNotice, renderPage } from "./page.ts";
import { textsFor, type Texts } from "./texts.ts";

export interface SampleApp {
  readonly port: number;
  /** Cuts what is open; resolves when nothing listens any more. */
  close(): Promise<void>;
}

const FORM_BYTES = 64 * 1024;
const MESSAGE_BYTES = 1024 * 1024;
const TICK_MS = 1000;

// Only the page's own files, whatever a request may have smuggled into it.
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
  "form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/** Starts the demo's web app on 127.0.0.1; port 0 takes a free one. */
export async function startSampleApp(options: { port: number }): Promise<SampleApp> {
  const assets = await loadAssets();
  const server = http.createServer((request, response) => void answer(request, response, assets));
  // Uploads may take as long as they like.
  server.requestTimeout = 0;
  const sockets = new WebSocketServer({ server, path: "/echo", maxPayload: MESSAGE_BYTES });
  sockets.on("connection", (socket) => {
    // The close event that follows an error says all there is to know.
    socket.on("error", () => undefined);
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  });
  // It repeats the server's errors, and without a listener would throw them a second time.
  sockets.on("error", () => undefined);

  server.listen(options.port, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const socket of sockets.clients) socket.terminate();
      sockets.close();
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

type Assets = Map<string, { type: string; bytes: Buffer }>;

async function answer(request: IncomingMessage, response: ServerResponse, assets: Assets): Promise<void> {
  const texts = textsFor(request.headers["accept-language"]);
  const path = request.url?.split("?")[0];
  const route = `${request.method === "HEAD" ? "GET" : request.method} ${path}`;
  response.setHeader("cache-control", "no-store");
  // The visitor may leave at any moment; there is nobody left to tell then.
  response.on("error", () => undefined);
  try {
    const asset = assets.get(route);
    if (asset) response.setHeader("content-type", asset.type).end(asset.bytes);
    else if (route === "GET /") sendPage(response, 200, renderPage(texts, seen(request)));
    else if (route === "GET /events") tick(request, response);
    else if (route === "POST /form") await answerForm(request, response, texts);
    else if (route === "POST /upload") await answerUpload(request, response);
    else sendPage(response, 404, renderNotice(texts, texts.notFound));
  } catch {
    response.destroy();
  }
}

/** One event at once and one each second, until the visitor leaves. */
function tick(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader("content-type", "text/event-stream; charset=utf-8");
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  const send = (): boolean => response.write(`data: ${new Date().toISOString()}\n\n`);
  send();
  const timer = setInterval(send, TICK_MS);
  response.on("close", () => clearInterval(timer));
}

/** The form's fields again: as JSON for the page's script, as a page for a browser without it. */
async function answerForm(request: IncomingMessage, response: ServerResponse, texts: Texts): Promise<void> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= FORM_BYTES) chunks.push(chunk);
  }
  if (bytes > FORM_BYTES) {
    sendPage(response, 413, renderNotice(texts, texts.tooLarge));
    return;
  }
  const fields = [...new URLSearchParams(Buffer.concat(chunks).toString())];
  if (request.headers.accept?.includes("application/json")) sendJson(response, fields);
  else sendPage(response, 200, renderPage(texts, seen(request), fields));
}

async function answerUpload(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  sendJson(response, { bytes, sha256: hash.digest("hex") });
}

function sendPage(response: ServerResponse, status: number, page: string): void {
  response
    .writeHead(status, {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": CONTENT_SECURITY_POLICY,
      "x-content-type-options": "nosniff",
      vary: "accept-language",
    })
    .end(page);
}

function sendJson(response: ServerResponse, data: unknown): void {
  response
    .writeHead(200, { "content-type": "application/json", "x-content-type-options": "nosniff" })
    .end(JSON.stringify(data));
}

function seen(request: IncomingMessage): { method: string; target: string; fields: string[] } {
  return { method: request.method ?? "", target: request.url ?? "", fields: request.rawHeaders };
}

/** The page's files lie beside the source; the build copies no assets, so they are found from the package's root. */
async function loadAssets(): Promise<Assets> {
  const root = pathToFileURL(createRequire(import.meta.url).resolve("#package.json"));
  const load = (name: string): Promise<Buffer> => readFile(new URL(`demo/page/${name}`, root));
  return new Map([
    ["GET /style.css", { type: "text/css; charset=utf-8", bytes: await load("style.css") }],
    ["GET /script.js", { type: "text/javascript; charset=utf-8", bytes: await load("script.js") }],
  ]);
}
