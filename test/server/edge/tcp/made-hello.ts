type Part = Buffer | string;

/** A ClientHello message with these extensions, or with none. */
export function hello(extensions?: Buffer, { behind = "" } = {}): Buffer {
  const fields = [
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    vector(1, Buffer.alloc(32, 8)),
    vector(2, "\x13\x01"),
    vector(1, "\0"),
    ...(extensions ? [vector(2, extensions)] : []),
    behind,
  ];
  return Buffer.concat([Buffer.from([1]), vector(3, ...fields)]);
}

export function extension(type: number, ...content: Part[]): Buffer {
  return Buffer.concat([Buffer.from([type >> 8, type & 0xff]), vector(2, ...content)]);
}

/** The server_name extension. */
export function serverNames(...names: string[]): Buffer {
  return extension(0, vector(2, ...names.flatMap((name) => ["\0", vector(2, name)])));
}

/** Parts with their length before them. */
export function vector(lengthSize: number, ...parts: Part[]): Buffer {
  const content = Buffer.concat(
    parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : part)),
  );
  const length = Buffer.alloc(lengthSize);
  length.writeUIntBE(content.length, 0, lengthSize);
  return Buffer.concat([length, content]);
}
