import * as fc from "fast-check";

const TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** Every legal byte but NUL, CR, LF and the other control bytes; the odd ones often. */
const valueCharacter = fc.oneof(
  fc.constantFrom(" ", "\t", ",", ":", ";", '"', "\\", "\x80", "\x85", "\xa0", "\xff"),
  fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  fc.integer({ min: 0x80, max: 0xff }).map((code) => String.fromCharCode(code)),
);

export const token = fc.string({
  unit: fc.constantFrom(...TOKEN_CHARACTERS.split("")),
  minLength: 1,
  maxLength: 20,
});
export const fieldValue = fc.string({ unit: valueCharacter, maxLength: 30 });
/** Names and values in turn. */
export const rawFields = fc
  .array(fc.tuple(token, fieldValue), { maxLength: 12 })
  .map((fields): string[] => fields.flat());

/** Heads, most of them with something wrong, as text of one character per byte. */
export function headText(startLine: string): fc.Arbitrary<string> {
  const line = fc
    .tuple(token, fc.constantFrom(":", ": ", ":  ", " : ", "\t:", ""), fieldValue)
    .map((parts) => parts.join(""));
  const whole = fc
    .array(line, { maxLength: 5 })
    .map((lines) => startLine + lines.map((each) => `${each}\r\n`).join(""));
  const damage = fc.array(
    fc.record({
      at: fc.nat(200),
      remove: fc.nat(3),
      insert: fc.oneof(
        fc.constantFrom(
          "",
          "\r",
          "\n",
          "\r\n",
          "\r\n\r\n",
          "\0",
          " ",
          "\t",
          ":",
          "\x0b",
          "\x7f",
          "\x85",
          "HTTP/1.1",
          "1.0",
        ),
        fc.string({ unit: fc.nat(255).map((code) => String.fromCharCode(code)), maxLength: 4 }),
      ),
    }),
    { maxLength: 3 },
  );
  return fc.tuple(whole, damage).map(([text, damage]) =>
    damage.reduce((text, { at, remove, insert }) => {
      const place = at % (text.length + 1);
      return text.slice(0, place) + insert + text.slice(place + remove);
    }, text),
  );
}

const FIELD_NAMES = [
  ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Keep-Alive", "TE"],
  ["Trailer", "Expect", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate"],
  ["HTTP2-Settings", "Forwarded", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto"],
  ["X-Forwarded-Anything", "Cookie", "Cache-Control", "Content-Type", "X-A"],
].flat();
const fieldName = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.constantFrom(...FIELD_NAMES), fc.constantFrom("", "lower", "upper", "_", "one _", "_ upper"))
      .map(([name, how]) => spelled(name, how)),
  },
  token,
);

/** Fields that forwarding has to do with, in spellings that somebody may take for them; names and values in turn. */
export const telltaleFields = fc
  .array(
    fc.tuple(
      fieldName,
      fc.oneof(
        { weight: 2, arbitrary: fc.array(fieldName, { maxLength: 3 }).map((names) => names.join(", ")) },
        fc.constantFrom(
          "close",
          "keep-alive",
          "Upgrade",
          "close, upgrade",
          "chunked",
          "gzip, chunked",
          "identity",
          "5",
          "0",
          "",
        ),
        fieldValue,
      ),
    ),
    { maxLength: 10 },
  )
  .map((fields): string[] => fields.flat());

const host = fc.oneof(
  fc.constantFrom("a.test", "A.TEST:80", "[::1]:8080", "a.test.", "127.0.0.1"),
  fc.constantFrom("", "a b", "a@b", "a,b", "a/b", "a:b", "a.test:", ":80", "*", "\xe4.test"),
);
const path = fc.array(
  fc.constantFrom("/", "//", "a", "?", "#", "%", "..", "@", ":", "http://", "\xe4", "*"),
  { maxLength: 6 },
);
// Node's parser ends a target at white space.
const target = fc
  .oneof(
    path.map((parts) => `/${parts.join("")}`),
    fc.constant("*"),
    fc
      .tuple(fc.constantFrom("http://", "HTTPS://", "ftp://", "http:/", "//"), host, path)
      .map(([scheme, host, path]) => scheme + host + path.join("")),
    path.map((parts) => parts.join("") || "/"),
  )
  .filter((target) => !/\s/.test(target));

/** A request as node's parser hands it over: it has refused two lengths, and lengths that are none. */
export const parsedRequest = fc
  .record({
    httpVersion: fc.oneof({ weight: 8, arbitrary: fc.constant("1.1") }, fc.constantFrom("1.0", "0.9", "2.0")),
    method: fc.constantFrom("GET", "POST", "OPTIONS", "HEAD"),
    url: target,
    fields: telltaleFields,
    host: fc.option(host, { freq: 9, nil: undefined }),
    length: fc.option(fc.nat(1_000_000), { nil: undefined }),
  })
  .map(({ fields, host, length, ...request }) => ({
    ...request,
    rawHeaders: [
      ...(host === undefined ? [] : ["Host", host]),
      ...withoutNames(fields, ["content-length", "host"]),
      ...(length === undefined ? [] : ["Content-Length", `${length}`]),
    ],
  }));

function spelled(name: string, how: string): string {
  const underscored = how.startsWith("_")
    ? name.replaceAll("-", "_")
    : how === "one _"
      ? name.replace("-", "_")
      : name;
  if (how.endsWith("upper")) return underscored.toUpperCase();
  return how === "lower" ? underscored.toLowerCase() : underscored;
}

function withoutNames(fields: string[], names: string[]): string[] {
  return fields.filter((_, i) => !names.includes(fields[i - (i % 2)]!.toLowerCase()));
}
