/** reservations.json in the data directory: which names clients hold, or have kept, so that a restart takes nobody's name away. */
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { MAX_PORT } from "../../link/port-range.ts";
import { fileErrorInWords } from "../../runtime/file-error.ts";
import type { Log } from "../../runtime/log.ts";
import { writeFileAtomically } from "../../runtime/state-directory.ts";
import { formatPlace, parsePlace, type Place } from "../routing/place.ts";
import type { Remembered, Reservation, ReservationStore } from "./reservations.ts";

/** Three million short names, or a quarter of that of the longest. Read at once, in less than a second. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** Made and written in one turn of the event loop, which takes less than a millisecond. */
const PIECE_CHARACTERS = 64 * 1024;
/** What stands around the lists. */
const FRAME_BYTES = 128;

export function reservationFileIn(dataDir: string): string {
  return path.join(dataDir, "reservations.json");
}

export class ReservationFile implements ReservationStore {
  readonly #file: string;
  readonly #log: Pick<Log, "warn">;
  readonly #maxBytes: number;

  constructor(options: {
    file: string;
    log: Pick<Log, "warn">;
    /** What tests make small. */
    maxBytes?: number;
  }) {
    this.#file = options.file;
    this.#log = options.log;
    this.#maxBytes = options.maxBytes ?? MAX_FILE_BYTES;
  }

  async load(): Promise<Remembered> {
    try {
      return parse(await this.#read());
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT") {
        const reason = code === undefined ? (error as Error).message : fileErrorInWords(error);
        this.#log.warn(
          { file: this.#file, reason },
          "reservations.json is not usable: no name is kept for clients of before the start",
        );
      }
      return { reservations: [], lastPorts: [] };
    }
  }

  async save(remembered: Remembered): Promise<void> {
    await writeFileAtomically(this.#file, inPieces(this.#texts(remembered)));
  }

  async #read(): Promise<string> {
    const { size } = await stat(this.#file);
    if (size > this.#maxBytes) throw new Error(`it has ${size} bytes; at most ${this.#maxBytes} are read`);
    return await readFile(this.#file, "utf8");
  }

  *#texts({ reservations, lastPorts }: Remembered): Generator<string> {
    let room = this.#maxBytes - FRAME_BYTES;
    yield '{"version":1,"last_ports":[';
    let comma = "";
    for (const lastPort of lastPorts) {
      const text = JSON.stringify(lastPort);
      room -= text.length + 1;
      yield comma + text;
      comma = ",";
    }
    yield '],"reservations":[';
    comma = "\n";
    for (const reservation of reservations) {
      const text = JSON.stringify(toFile(reservation));
      room -= Buffer.byteLength(text) + 2;
      if (room < 0) {
        this.#log.warn({ file: this.#file }, "reservations.json is full: a restart would not keep all names");
        break;
      }
      yield comma + text;
      comma = ",\n";
    }
    yield "\n]}\n";
  }
}

function* inPieces(texts: Iterable<string>): Generator<string> {
  let piece = "";
  for (const text of texts) {
    piece += text;
    if (piece.length < PIECE_CHARACTERS) continue;
    yield piece;
    piece = "";
  }
  if (piece !== "") yield piece;
}

const place = z.string().transform((text, context): Place => {
  const parsed = parsePlace(text);
  if (parsed) return parsed;
  context.addIssue("expected a hostname, or ports such as tcp:6000-6010");
  return z.NEVER;
});

const reservation = z.object({
  key: z.string().regex(/^[0-9a-f]{16}$/),
  client: z.string(),
  left: z.iso.datetime().optional(),
  names: z.array(place),
});

/** Loose: what a later version adds is of no use to this one. */
const schema = z.object({
  version: z.literal(1),
  last_ports: z.array(z.tuple([z.string(), z.int().min(1).max(MAX_PORT)])),
  reservations: z.array(reservation),
});

function toFile({ keyId, clientId, leftAt, places }: Reservation): z.input<typeof reservation> {
  return {
    key: keyId,
    client: clientId,
    ...(leftAt !== undefined && { left: new Date(leftAt).toISOString() }),
    names: places.map(formatPlace),
  };
}

/** @throws Error */
function parse(text: string): Remembered {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error("it is not valid JSON: half written, or damaged by hand");
  }
  const result = schema.safeParse(data);
  if (!result.success) {
    const { path: at, message } = result.error.issues[0]!;
    throw new Error(`it has not the expected form: ${at.join(".") || "the file"}: ${message}`);
  }
  const { last_ports, reservations } = result.data;
  return {
    lastPorts: last_ports,
    reservations: reservations.map(({ key, client, left, names }) => ({
      keyId: key,
      clientId: client,
      leftAt: left === undefined ? undefined : Date.parse(left),
      places: names,
    })),
  };
}
