import * as fc from "fast-check";
import { share } from "./share.ts";

/** What people and attackers put into YAML: half of a construct, one that means something elsewhere, odd characters. */
const FRAGMENTS = [
  ["", " ", "  ", "\n", "\n  ", "\r\n", "\t", ":", ": ", "- ", "? ", "#", " #", ",", "'", '"', "\\"],
  ["`", "@", "%", "[", "]", "{", "}", "[]", "{}", "|", ">", "|-\n", "---", "---\n", "...\n"],
  ["%YAML 1.2\n---\n", "&a ", "*a", "*b", "<<: *a", "&a [*a]", "!", "!!str ", "!!binary ", "!!set "],
  ["!!omap ", "!x ", "!<x> ", "~", "null", "true", "no", "0", "-1", "0x10", "0o7", "1e999", ".nan"],
  ["-.inf", "99999999999999999999", "2001-01-01", "${", "}", "${}", "${NOWHERE}", "${a-b}", "$${"],
  ["${${HOME_KEY}}", "__proto__", "constructor", "toString", "name", "listen", "*", "127.0.0.1"],
  [":8080", "0.0.0.0:0", "[::1]:1", "xn--a", "\0", "\u001b[2J", "\u009b", "\u2028", "\u202e"],
  ["\ufeff", "\ud800", "é", "日本", "🦆", "x".repeat(2_000), "[".repeat(100)],
].flat();

const fragment = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...FRAGMENTS) },
  fc.string({ unit: "binary", maxLength: 5 }),
);
/** What a value may be without a fault in the YAML. */
const VALUES = [
  ["", "~", "null", "true", "no", "0", "-1", "8080", "1e999", ".nan", "x", "a b", "-", "é", "日本"],
  ["2222", "65536", "6000-6010", "6010-6000", "1-65535", "none", "http", "tls", "tcp", "udp", "v1"],
  ["[]", "{}", "[a, b]", "{ a: 1 }", "'*'", "127.0.0.1", "a.b", "'[::1]:80'", "../x", "x".repeat(2_000)],
].flat();
const value = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...VALUES) }, fragment);
/** Where in a text, from its start to its end. */
const place = share;

type Mutation = (text: string) => string;

const mutation = fc.oneof<fc.Arbitrary<Mutation>[]>(
  fc.tuple(place, fc.nat(4), fragment).map(([place, remove, insert]) => (text) => {
    const at = Math.floor(place * (text.length + 1));
    return text.slice(0, at) + insert + text.slice(at + remove);
  }),
  fc
    .tuple(place, value)
    .map(([place, value]) => onLine(place, (line) => [line.replace(/:.*$/, `: ${value}`)])),
  fc
    .tuple(place, value)
    .map(([place, piece]) => onLine(place, (line) => [line.replace(/: .{1,20}/, `$&${piece}`)])),
  fc
    .tuple(place, fragment)
    .map(([place, name]) => onLine(place, (line) => [line.replace(/[\w-]+:/, `${name}:`)])),
  fc
    .tuple(place, fc.integer({ min: -4, max: 4 }))
    .map(([place, by]) => onLine(place, (line) => [by < 0 ? line.slice(-by) : " ".repeat(by) + line])),
  place.map((place) => onLine(place, () => [])),
  place.map((place) => onLine(place, (line) => [line, line])),
  fc.tuple(place, place).map(([from, to]) => (text) => {
    const lines = text.split("\n");
    const [line] = lines.splice(Math.floor(from * lines.length), 1);
    lines.splice(Math.floor(to * (lines.length + 1)), 0, line!);
    return lines.join("\n");
  }),
);

/** The text with a few things done to it. */
export function mutatedYaml(text: string): fc.Arbitrary<string> {
  const lines = text.split("\n").filter((line) => line.trim() !== "" && !line.trimStart().startsWith("#"));
  const bare = lines.join("\n");
  return fc
    .tuple(fc.constantFrom(bare, bare, text), fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([text, mutations]) => mutations.reduce((text, mutate) => mutate(text), text));
}

/** The top-level option, with all that is in it, where `piece` stands. */
export function optionWith(piece: string, text: string): string {
  return text.split(/^(?=\w)/m).find((option) => option.includes(piece))!;
}

/** Text of YAML's own characters, seldom YAML. */
export const yamlText = fc.array(fragment, { maxLength: 20 }).map((fragments) => fragments.join(""));

function onLine(place: number, change: (line: string) => string[]): Mutation {
  return (text) => {
    const lines = text.split("\n");
    const at = Math.floor(place * lines.length);
    lines.splice(at, 1, ...change(lines[at]!));
    return lines.join("\n");
  };
}
