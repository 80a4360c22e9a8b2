import { userInfo } from "node:os";
import { freePort } from "../../bench/free-port.ts";
import { OutsideProgram } from "./outside-program.ts";

/** More than fits a datagram. */
export const TEXTS = Array.from({ length: 100 }, (_, i) => `text ${i} ${"x".repeat(100)}`);

export interface NameServer extends AsyncDisposable {
  host: string;
  port: number;
}

/** Knows app.test, and TEXTS at long.test; over UDP and TCP. */
export async function startNameServer(): Promise<NameServer> {
  const [host, port] = ["127.0.0.1", await freePort()];
  const server = new OutsideProgram([
    "dnsmasq",
    ..."--keep-in-foreground --conf-file=/dev/null --pid-file= --log-facility=- --no-resolv --no-hosts".split(
      " ",
    ),
    ...`--user=${userInfo().username} --bind-interfaces --listen-address=${host} --port=${port}`.split(" "),
    ..."--address=/app.test/192.0.2.7 --address=/app.test/2001:db8::7".split(" "),
    ...TEXTS.map((text) => `--txt-record=long.test,${text}`),
  ]);
  await server.printed("started");
  return { host, port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}
