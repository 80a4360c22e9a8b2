/** Who listens on this machine, as Linux tells without being asked for a connection: proc_pid_net(5). */
import { createReadStream } from "node:fs";
import { isIPv4 } from "node:net";
import { endianness } from "node:os";
import { groupsOf, plainAddress } from "../../runtime/ip-address.ts";

/** Those that listen come first; beyond these two thousand of them a target is asked itself. */
const MAX_BYTES = 256 * 1024;
/** The number of the entry, its address and port, the other end's, and the state of a socket that listens. */
const LISTENING = /^ *\d+: ([0-9A-F]+:[0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} 0A /gm;

/** Sockets that listen, as the system writes them; none where it does not tell. */
export type Listeners = ReadonlySet<string>;

export async function readListeners(): Promise<Listeners> {
  const files = await Promise.all([beginningOf("/proc/net/tcp"), beginningOf("/proc/net/tcp6")]);
  return new Set(files.flatMap((text) => Array.from(text.matchAll(LISTENING), ([, entry = ""]) => entry)));
}

/** Whether a connection to this address of this machine finds somebody. False may also mean that it does not show. */
export function isListening(listeners: Listeners, address: string, port: number): boolean {
  const bytes = bytesOf(address);
  const at = port.toString(16).toUpperCase().padStart(4, "0");
  // A socket for all IPv6 addresses may take IPv4 as well, which does not show.
  return [bytes, Buffer.alloc(bytes.length)].some((each) => listeners.has(`${asInProc(each)}:${at}`));
}

async function beginningOf(path: string): Promise<string> {
  let text = "";
  try {
    for await (const piece of createReadStream(path, { encoding: "latin1", end: MAX_BYTES })) text += piece;
  } catch {
    // Not Linux, or not for us to see.
  }
  return text;
}

function bytesOf(address: string): Buffer {
  const plain = plainAddress(address) ?? "";
  if (isIPv4(plain)) return Buffer.from(plain.split(".").map(Number));
  return Buffer.from(
    groupsOf(plain)
      .map((group) => group.padStart(4, "0"))
      .join(""),
    "hex",
  );
}

/** In words of four bytes, each as the machine has it. */
function asInProc(bytes: Buffer): string {
  const words = Buffer.from(bytes);
  if (endianness() === "LE") words.swap32();
  return words.toString("hex").toUpperCase();
}
