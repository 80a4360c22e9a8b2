/** A mistake in how the program was called or configured: trying again needs another command line. */
export const USAGE_EXIT_CODE = 2;

/** Ends a command; the message is for people, says what to do, and is all that is printed. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  /** 2: used in a way that cannot work; 1: it could work, but not as things are. */
  readonly exitCode: 1 | 2;

  constructor(exitCode: 1 | 2, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

export function usageError(message: string): CommandError {
  return new CommandError(USAGE_EXIT_CODE, message);
}
