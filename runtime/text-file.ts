/**
 * The text of a file that a person has written: UTF-8, or UTF-16 with a byte order mark, as PowerShell's `>` writes it.
 *
 * @returns undefined for what is neither
 */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    // TextDecoder takes the byte order mark off.
    return new TextDecoder(encodingOf(bytes), { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** https://encoding.spec.whatwg.org/#bom-sniff */
function encodingOf([first, second]: Uint8Array): string {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  return "utf-8";
}
