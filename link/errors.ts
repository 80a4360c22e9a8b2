/**
 * What can go wrong between the two programs, as data: `code` is what code acts on, `message` is for people
 * and says what to do, `cause` is what lay beneath.
 */
export type ErrorCode =
  | "key_malformed"
  | "key_refused"
  | "key_revoked"
  | "name_refused"
  | "replaced"
  | "version"
  | "protocol"
  | "overloaded"
  | "unreachable"
  | "certificate"
  | "timeout"
  | "lost"
  | "shutting_down"
  | "internal";

/** The errors that trying again cannot mend, with the exit code of a client that they end. */
const PERMANENT_EXIT_CODES: Partial<Record<ErrorCode, number>> = {
  key_malformed: 3,
  key_refused: 3,
  key_revoked: 3,
  name_refused: 4,
  replaced: 5,
  version: 6,
};

const ALL_CODES: ReadonlySet<string> = new Set<ErrorCode>([
  "key_malformed",
  "key_refused",
  "key_revoked",
  "name_refused",
  "replaced",
  "version",
  "protocol",
  "overloaded",
  "unreachable",
  "certificate",
  "timeout",
  "lost",
  "shutting_down",
  "internal",
]);

export class TunnelError extends Error {
  override readonly name = "TunnelError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** Whether trying again is pointless. */
  get permanent(): boolean {
    return this.code in PERMANENT_EXIT_CODES;
  }

  /** The exit code of a program that this error ends. */
  get exitCode(): number {
    return PERMANENT_EXIT_CODES[this.code] ?? 1;
  }
}

/** Reads a code that the other end sent; one that this version does not know counts as `internal`. */
export function errorCodeFromWire(code: string): ErrorCode {
  return ALL_CODES.has(code) ? (code as ErrorCode) : "internal";
}
