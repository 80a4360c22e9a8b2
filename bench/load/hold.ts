import { connect } from "node:net";

/**
 * Opens connections, asks each for the same thing, reads so many bytes of the answer and then nothing more: long polls
 * and stalled readers. Says `held` when all have come so far, and ends with what went wrong if one is lost.
 *
 * Arguments: host, port, Host field, path, how many, how many bytes each reads (0: the request is sent, and that is all).
 */
const [host, portText, hostname, path, countText, bytesText] = process.argv.slice(2);
const COUNT = Number(countText);
const READ_BYTES = Number(bytesText);
/** At a time under way: more would meet full backlogs. */
const OPENING = 100;

let opened = 0;
let held = 0;
for (let i = 0; i < Math.min(OPENING, COUNT); i++) open();

function open(): void {
  opened++;
  const socket = connect({ host: host!, port: Number(portText), noDelay: true });
  let read = 0;
  socket.once("connect", () => {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`, () => {
      if (READ_BYTES === 0) settled();
    });
  });
  socket.on("data", (chunk: Buffer) => {
    if (read === 0 && !chunk.toString("latin1").startsWith("HTTP/1.1 200")) lost(chunk.toString("latin1"));
    read += chunk.length;
    if (read < READ_BYTES) return;
    socket.pause();
    settled();
  });
  socket.on("error", (error) => lost(error.message));
  socket.on("close", () => lost("it was closed"));
}

function settled(): void {
  held++;
  if (opened < COUNT) open();
  else if (held === COUNT) console.log("held");
}

function lost(why: string): never {
  console.log(`connection ${held} of ${COUNT} was lost: ${why.split("\r\n")[0]}`);
  process.exit(1);
}
