/** Pushes bytes in pieces of some length until the reader has an answer; says what it is, and how many bytes that took. */
export function readInPieces<Reading extends { state: string }>(
  reader: { push(chunk: Buffer): Reading },
  bytes: Buffer,
  pieceBytes: number | (() => number),
): { reading: Reading | { state: "more" }; taken: number } {
  let at = 0;
  while (at < bytes.length) {
    const length = typeof pieceBytes === "number" ? pieceBytes : pieceBytes();
    const reading = reader.push(bytes.subarray(at, at + length));
    at = Math.min(bytes.length, at + length);
    if (reading.state !== "more") return { reading, taken: at };
  }
  return { reading: { state: "more" }, taken: at };
}
