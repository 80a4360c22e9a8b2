import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../../bench/free-port.ts";
import { type Identity, makeAuthority, makeCertificate } from "../support/certificates.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { OutsideProgram } from "./outside-program.ts";

export interface TlsService extends AsyncDisposable {
  host: string;
  port: number;
  identity: Identity;
  /** Speaks to it at a public place as one who trusts nobody but its authority. */
  visit(from: { host: string; port: number }, ...options: string[]): OutsideProgram;
}

/** `openssl s_server`, which says each line backwards, with a certificate of its own for the name. */
export async function startTlsService(name: string): Promise<TlsService> {
  const directory = await temporaryDirectory();
  const file = (called: string): string => join(directory, called);
  const authority = await makeAuthority();
  const identity = await makeCertificate({ authority, names: [name] });
  await Promise.all([
    writeFile(file("ca.pem"), authority.cert),
    writeFile(file("cert.pem"), identity.cert),
    writeFile(file("key.pem"), identity.key),
  ]);
  const [host, port] = ["127.0.0.1", await freePort()];
  const files = ["-cert", file("cert.pem"), "-key", file("key.pem")];
  const server = new OutsideProgram([
    ...`openssl s_server -accept ${host}:${port} -alpn culvert-test -rev`.split(" "),
    ...files,
  ]);
  await server.printed("ACCEPT");
  return {
    host,
    port,
    identity,
    visit: (from, ...options) =>
      new OutsideProgram([
        ...`openssl s_client -connect ${from.host}:${from.port} -servername ${name}`.split(" "),
        ...`-CAfile ${file("ca.pem")} -verify_return_error -verify_hostname ${name} -alpn culvert-test`.split(
          " ",
        ),
        ...options,
      ]),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
