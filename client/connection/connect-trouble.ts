/** The other end closed the connection before it had said what it should. */
export class ConnectionClosed extends Error {
  override readonly name = "ConnectionClosed";
}

export function isClosed(error: NodeJS.ErrnoException): boolean {
  return error instanceof ConnectionClosed || error.code === "ECONNRESET";
}

/** Why no connection to an address came about, to be put behind how that is called. */
export function connectTrouble(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case "ENETUNREACH":
    case "EHOSTUNREACH":
    case "EADDRNOTAVAIL":
    case "ENETDOWN":
    case "EHOSTDOWN":
      return `is out of reach (${error.code}): check this machine's network`;
    default:
      return `cannot be connected to: ${error.message}`;
  }
}
