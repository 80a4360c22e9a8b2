import { STATUS_CODES } from "node:http";
import { encodeResponseHead, type RawFields } from "../../../link/http-head.ts";
import type { Refusal } from "./refusals.ts";

export interface ErrorAnswer {
  status: number;
  reason: string;
  fields: RawFields;
  body: Buffer;
}

/**
 * What a visitor gets when the edge answers by itself: HTML for browsers, JSON where Accept prefers it, else plain text.
 *
 * @param requestId stands in the logs of both ends too
 */
export function errorAnswer(refusal: Refusal, requestId: string, accept: string | undefined): ErrorAnswer {
  const { contentType, body } = errorPage(refusal, requestId, accept);
  const fields = [
    "Content-Type",
    contentType,
    "Content-Length",
    String(body.length),
    "Cache-Control",
    "no-store",
  ];
  fields.push("X-Content-Type-Options", "nosniff");
  if (contentType.startsWith("text/html")) {
    fields.push("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  }
  if (refusal.retryAfter !== undefined) fields.push("Retry-After", String(refusal.retryAfter));
  // RFC 9110 section 15.5.6: a 405 lists what is possible.
  if (refusal.status === 405) fields.push("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");
  return { status: refusal.status, reason: STATUS_CODES[refusal.status] ?? "", fields, body };
}

/** The same as bytes, for what is no request; the connection ends behind them. */
export function errorBytes(refusal: Refusal, requestId: string, accept?: string): Buffer {
  const { status, reason, fields, body } = errorAnswer(refusal, requestId, accept);
  fields.push("Date", new Date().toUTCString(), "Connection", "close");
  return Buffer.concat([encodeResponseHead({ status, reason, fields }), Buffer.from("\r\n"), body]);
}

interface ErrorPage {
  contentType: string;
  body: Buffer;
}

function errorPage(refusal: Refusal, requestId: string, accept: string | undefined): ErrorPage {
  const title = `${refusal.status} ${STATUS_CODES[refusal.status] ?? ""}`.trim();
  switch (preferred(accept ?? "")) {
    case "html":
      return page("text/html; charset=utf-8", html(title, refusal.sentence, requestId));
    case "json": {
      const error = { status: refusal.status, code: refusal.code, message: refusal.sentence, requestId };
      return page("application/json", `${JSON.stringify({ error })}\n`);
    }
    default:
      return page("text/plain; charset=utf-8", `${title}\n\n${refusal.sentence}\nRequest id: ${requestId}\n`);
  }
}

type Form = "html" | "json" | "text";

const FORMS: ReadonlyMap<string, Form> = new Map([
  ["text/html", "html"],
  ["application/xhtml+xml", "html"],
  ["application/json", "json"],
  ["text/plain", "text"],
]);

/** RFC 9110 section 12.5.1, for the three forms there are; the first of equals wins, and wildcards mean plain text. */
function preferred(accept: string): Form {
  let best: Form = "text";
  let bestWeight = 0;
  // A hostile list is not worth reading to its end.
  for (const range of accept.slice(0, 1000).toLowerCase().split(",")) {
    const [type = "", ...parameters] = range.split(";");
    const name = type.trim();
    const form = FORMS.get(name) ?? (name.endsWith("+json") ? "json" : undefined);
    const weight = form === undefined ? 0 : weightOf(parameters);
    if (form !== undefined && weight > bestWeight) {
      best = form;
      bestWeight = weight;
    }
  }
  return best;
}

function weightOf(parameters: string[]): number {
  for (const parameter of parameters) {
    const [name = "", value = ""] = parameter.split("=");
    if (name.trim() === "q") return Number(value) || 0;
  }
  return 1;
}

function page(contentType: string, text: string): ErrorPage {
  return { contentType, body: Buffer.from(text, "utf8") };
}

function html(title: string, sentence: string, requestId: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; }
small { opacity: .7; }
</style>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(sentence)}</p>
<p><small>Request id: <code>${escapeHtml(requestId)}</code></small></p>
</html>
`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
