import { once } from "node:events";
import { connect, type AddressInfo } from "node:net";
import { createServer } from "node:tls";
import type { Identity } from "../../../support/certificates.ts";

/** The server name that OpenSSL finds in a client's first bytes; undefined if it finds none, or refuses them before. */
export async function nameHeardByOpenssl(bytes: Buffer, identity: Identity): Promise<string | undefined> {
  let heard: string | undefined;
  const server = createServer({
    ...identity,
    SNICallback(name, answer) {
      heard = name;
      answer(new Error("that is all we wanted to know"));
    },
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const over = once(server, "tlsClientError");
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  client.on("error", () => {
    // The server may have ended it.
  });
  client.end(bytes);
  await over;
  client.destroy();
  server.close();
  return heard;
}
