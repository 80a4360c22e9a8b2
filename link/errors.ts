/**
 * What can go wrong between the two programs, as data: `code` is what code acts on, `message` is for people
 * and says what to do, `cause` is what lay beneath. Here each code with the exit code of a client that it ends;
 * those with 1 may pass, so a client tries again.
 */
const EXIT_CODES = {
  key_malformed: 3,
  key_refused: 3,
  key_revoked: 3,
  name_refused: 4,
  /** Another key has it, and the server has just started: the client that had it before may be on its way back. */
  name_taken: 1,
  port_taken: 1,
  replaced: 5,
  version: 6,
  protocol: 1,
  overloaded: 1,
  unreachable: 1,
  certificate: 1,
  timeout: 1,
  lost: 1,
  shutting_down: 1,
  internal: 1,
} as const;

export type ErrorCode = keyof typeof EXIT_CODES;

export class TunnelError extends Error {
  override readonly name = "TunnelError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** Whether trying again is pointless. */
  get permanent(): boolean {
    return this.exitCode !== 1;
  }

  /** The exit code of a program that this error ends. */
  get exitCode(): number {
    return EXIT_CODES[this.code];
  }
}

/** Reads a code that the other end sent; one that this version does not know counts as `internal`. */
export function errorCodeFromWire(code: string): ErrorCode {
  return Object.hasOwn(EXIT_CODES, code) ? (code as ErrorCode) : "internal";
}
