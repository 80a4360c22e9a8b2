import * as fc from "fast-check";
import { fieldValue, token } from "../../support/http-arbitraries.ts";
import { inHeads } from "./tidied-answer.ts";

const BODIES = ["ok", "hello world", "\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "0\r\n\r\n", "\0\x80\xff"];

/** One of the usual texts, and once in so many times one of the odd ones. */
function mostly(times: number, usual: string[], odd: string[]): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: times - 1, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.constantFrom(...odd) },
  );
}

const lineEnd = mostly(100, ["\r\n"], ["\n", "\r", "\r\n ", "\r\n\t", "\r\r\n", "\n\r\n"]);
const version = mostly(30, ["1.1", "1.1", "1.1", "1.0"], ["0.9", "2.0", "1.2", "11", "1.1 "]);
const finalStatus = mostly(
  20,
  ["200", "206", "299", "404", "500", "204", "304", "600", "999"],
  ["100", "101", "099", "20", "2000", "+20", "2x0", ""],
);
const reason = mostly(
  10,
  [" OK", " ", "", " Not Found", " \xe9", "  two", " a\tb"],
  [" \x01", "\tOK", " \x7f", " O\rK", " O\nK", " O\0K"],
);
const separator = mostly(80, [": ", ": ", ":", ":  ", ":\t", ": \t "], [" : ", "\t:", "", ": \r\n "]);

/** Behind a value. */
const blank = mostly(15, [""], [" ", "\t", " \t", "\t ", "  "]);

/** Fields about the connection. */
const telling = fc.oneof(
  fc.tuple(
    fc.constantFrom("Connection", "connection", "Proxy-Connection"),
    fc.oneof(
      fc.constantFrom("close", "keep-alive", "Upgrade", "x, close", "keep-alive, Upgrade", ""),
      fc.constantFrom(
        "closed",
        "x,\tUpgrade",
        "\tUpgrade",
        "x,\tclose",
        "x upgrade",
        "Upgrade ,x",
        "upgrade;x",
        "close x",
        "x\tclose",
        ",close",
      ),
    ),
  ),
  fc.tuple(fc.constantFrom("Upgrade", "UPGRADE"), fc.constantFrom("websocket", "h2c", "")),
  fc.tuple(fc.constant("Keep-Alive"), fc.constantFrom("timeout=5, max=100", "timeout=0", "x")),
  fc.tuple(fc.constantFrom("Trailer", "Expect", "Content_Length"), fc.constantFrom("X", "close", "5")),
);
/** Fields about the length, most of them wrong beside the one that frames the body. */
const framing = fc.oneof(
  fc.tuple(
    fc.constantFrom("Content-Length", "content-length"),
    fc.oneof(
      fc.constantFrom("2", "0", "02", "2 ", "9".repeat(15), "9".repeat(16), "9".repeat(30)),
      fc.constantFrom("+2", "-1", "2, 2", "2,2 , 2", "2, 3", "2,,2", "0x2", "2 2", "", "two", "2;"),
    ),
  ),
  fc.tuple(
    fc.constantFrom("Transfer-Encoding", "transfer-encoding"),
    fc.constantFrom(
      "chunked",
      "Chunked",
      "identity",
      "Identity",
      "identity, chunked",
      "chunked, chunked",
      "gzip, chunked",
      "chunked,",
      "gzip",
      "",
    ),
  ),
);
const field = fc
  .tuple(
    fc.oneof(
      { weight: 20, arbitrary: fc.tuple(token, fieldValue) },
      { weight: 12, arbitrary: telling },
      { weight: 1, arbitrary: framing },
    ),
    separator,
    blank,
    lineEnd,
  )
  .map(([[name, value], separator, blank, end]) => `${name}${separator}${value}${blank}${end}`);
const fields = fc.array(field, { maxLength: 4 }).map((lines) => lines.join(""));

function head(status: fc.Arbitrary<string>, added: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(version, status, reason, lineEnd, fields, added, fields)
    .map(
      ([version, status, reason, end, before, added, after]) =>
        `HTTP/${version} ${status}${reason}${end}${before}${added}${after}\r\n`,
    );
}

const interim = head(mostly(20, ["100", "102", "103", "199"], ["101"]), fc.constant(""));
const switching = fc
  .tuple(
    head(fc.constant("101"), fc.constant("Connection: Upgrade\r\nUpgrade: websocket\r\n")),
    fc.constantFrom("", ...BODIES),
  )
  .map((parts) => parts.join(""));

const size = mostly(
  20,
  ["lower", "lower", "upper", "zeros"],
  ["+2", "-1", "0x2", "", " 2", "2 ", "g", "f".repeat(14), "f".repeat(17), "1".padStart(20, "0")],
);
const extension = mostly(
  6,
  [""],
  ["a", "a=b", 'a="b c"', 'a="\\"";b', "a;b=c", "", " a", "a=", 'a="', "a\n", 'a="\x80"', "\x01", "a =b"].map(
    (text) => `;${text}`,
  ),
);
const chunk = fc
  .tuple(fc.constantFrom(...BODIES), size, extension, lineEnd, lineEnd)
  .map(([data, size, extension, end, dataEnd]) => {
    const digits = data.length.toString(16);
    const known: Record<string, string> = {
      lower: digits,
      upper: digits.toUpperCase(),
      zeros: digits.padStart(4, "0"),
    };
    return `${known[size] ?? size}${extension}${end}${data}${dataEnd}`;
  });
const chunks = fc
  .tuple(fc.array(chunk, { maxLength: 3 }), fc.constantFrom("0", "0", "000", "0;a"), lineEnd, fields)
  .map(([chunks, last, end, trailers]) => `${chunks.join("")}${last}${end}${trailers}\r\n`);

/** The length of a body, N, said more than once, or beside a coding that is none. */
const sameLength = fc.constantFrom(
  "Content-Length: N\r\ncontent-length: N\r\n",
  "Content-Length: N, N\r\n",
  "Transfer-Encoding: identity\r\nContent-Length: N\r\n",
);

const final = fc
  .oneof(
    fc
      .tuple(fc.constantFrom("", ...BODIES), blank)
      .map(([body, blank]) => [`Content-Length: ${body.length}${blank}\r\n`, body]),
    fc
      .tuple(fc.constantFrom(...BODIES), sameLength)
      .map(([body, lines]) => [lines.replaceAll("N", String(body.length)), body]),
    fc.tuple(chunks, blank).map(([body, blank]) => [`Transfer-Encoding: chunked${blank}\r\n`, body]),
    fc.constantFrom("", ...BODIES).map((body) => ["", body]),
  )
  .chain(([framing, body]) => fc.tuple(head(finalStatus, fc.constant(framing!)), fc.constant(body!)))
  .map((parts) => parts.join(""));

const message = fc
  .tuple(
    fc.oneof(
      { weight: 3, arbitrary: fc.constant("") },
      fc.array(interim, { maxLength: 3 }).map((heads) => heads.join("")),
    ),
    fc.oneof({ weight: 10, arbitrary: final }, { weight: 1, arbitrary: switching }),
    fc.constantFrom("", "", "", "excess", "HTTP/1.1 200 OK\r\n\r\n", "\r\n"),
  )
  .map((parts) => parts.join(""));

const damage = fc.record({
  at: fc.nat(1_000),
  remove: fc.nat(3),
  insert: fc.oneof(
    fc.constantFrom("", "\r", "\n", "\r\n", "\r\n\r\n", "\0", " ", "\t", ":", ";", "0", "HTTP/1.1 "),
    fc.nat(255).map((code) => String.fromCharCode(code)),
  ),
});

/** Answers, many of them with something wrong, as text of one character per byte; LF alone ends the lines of some heads. */
export const answerText = fc
  .tuple(
    fc.oneof(
      { weight: 4, arbitrary: message },
      { weight: 1, arbitrary: message.map((text) => inHeads(text, (head) => head.replaceAll("\r\n", "\n"))) },
    ),
    fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(damage, { minLength: 1, maxLength: 3 })),
  )
  .map(([text, damages]) =>
    damages.reduce((text, { at, remove, insert }) => {
      const place = at % (text.length + 1);
      return text.slice(0, place) + insert + text.slice(place + remove);
    }, text),
  );
