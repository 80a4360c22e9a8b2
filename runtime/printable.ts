// C0, DEL, C1; the Arabic letter mark, direction marks, line and paragraph separators, embeddings, overrides and
// isolates; the byte order mark. Each can move a terminal's cursor, forge a line, or show text in another order.
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
const EACH_UNPRINTABLE = new RegExp(UNPRINTABLE, "g");

/** Text that is safe on a terminal and in a line of a log: what could steer either stands as `\u001b`. */
export function printable(text: string): string {
  return UNPRINTABLE.test(text) ? text.replace(EACH_UNPRINTABLE, escapeCharacter) : text;
}

/** Text in double quotes, printable, cut where it is longer than `limit` characters. */
export function quoted(text: string, limit = 60): string {
  return printable(JSON.stringify(cut(text, limit)));
}

/** At most `limit` characters (UTF-16 units) of a text, saying how many are missing. */
export function cut(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit)}… (${text.length - limit} more)`;
}

const CUT = "…";

/** Cuts a text to so many bytes of UTF-8, the sign of the cut included; characters stay whole. */
export function cutBytes(text: string, limitBytes: number): string {
  if (Buffer.byteLength(text) <= limitBytes) return text;
  const room = new Uint8Array(limitBytes - Buffer.byteLength(CUT));
  return text.slice(0, new TextEncoder().encodeInto(text, room).read) + CUT;
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
