/** What is read in answers' heads though it is not as it should be, put right: by text alone, and not as the reader does it. */

/** A head, or as much of one as has come. */
const HEAD = /^HTTP\/1\.[^]*?(?:\n\r?\n|$)/;
const INTERIM = /^HTTP\/1\.[01] 1(?!01)/;

/** Changes the heads of an answer, the interim ones and the last, and leaves the rest. */
export function inHeads(text: string, change: (head: string) => string): string {
  const [head] = HEAD.exec(text) ?? [];
  if (head === undefined) return text;
  const rest = text.slice(head.length);
  return change(head) + (INTERIM.test(head) ? inHeads(rest, change) : rest);
}

/**
 * The answer with CRLF behind each line of its heads, with each length once, and without `Transfer-Encoding: identity`: Node's
 * parser takes it only so.
 */
export function tidied(text: string): string {
  return inHeads(text, (head) => {
    const lengths = new Set<string>();
    return head
      .replaceAll(/\r?\n/g, "\r\n")
      .replaceAll(/(?<=\n)transfer-encoding:[\t ]*identity[\t ]*\r\n/gi, "")
      .replaceAll(
        /(?<=\n)(content-length:[\t ]*)([0-9]+)((?:[\t ]*,[\t ]*\2)*[\t ]*\r\n)/gi,
        (_, name, length) => {
          if (lengths.has(length)) return "";
          lengths.add(length);
          return `${name}${length}\r\n`;
        },
      );
  });
}
