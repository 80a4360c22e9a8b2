import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type TlsOptions, type TLSSocket } from "node:tls";
import { consentTo } from "../../../client/local/consent.ts";
import { LocalService } from "../../../client/local/local-service.ts";
import type { TargetTls } from "../../../link/messages.ts";
import type { TcpTarget } from "../../../link/target.ts";
import { type Identity, makeAuthority, makeCertificate } from "../../support/certificates.ts";
import { RawConnection, type Script } from "../../support/raw-backend.ts";

/** A local service over TLS whose every byte is the test's. */
export interface TlsService extends AsyncDisposable {
  readonly port: number;
  readonly connections: (RawConnection & { socket: TLSSocket })[];
  /** What went wrong before there was a connection: an OpenSSL code each. */
  readonly failures: string[];
  /** Uses another certificate for connections from now on. */
  use(identity: Identity): void;
}

export async function startTlsService(
  script: Script,
  { host = "127.0.0.1", ...options }: TlsOptions & { host?: string },
): Promise<TlsService> {
  const connections: TlsService["connections"] = [];
  const failures: string[] = [];
  const server = createServer(options, (socket) => {
    const connection = new RawConnection(socket) as TlsService["connections"][number];
    const index = connections.push(connection) - 1;
    void (async () => script(connection, index))().catch(() => {});
  });
  server.on("tlsClientError", (error: NodeJS.ErrnoException) => failures.push(error.code ?? error.message));
  server.listen(0, host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    failures,
    use: (identity) => server.setSecureContext(identity),
    async [Symbol.asyncDispose]() {
      for (const { socket } of connections) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Answers every request alike. */
export function answering(answer: string): Script {
  return async (connection) => {
    for (;;) {
      await connection.head();
      await connection.send(answer);
    }
  };
}

/** The tunnel's side of it. */
export function tlsServiceAt(
  port: number,
  { host = "127.0.0.1", timeoutMs, ...tls }: Partial<TargetTls> & { host?: string; timeoutMs?: number } = {},
): LocalService {
  const target: TcpTarget = { host, port, tls: true };
  return new LocalService({
    target,
    consent: consentTo(target),
    targetTls: { insecure: false, ca: "", serverName: "", ...tls },
    ...(timeoutMs !== undefined && { timeoutMs }),
  });
}

/** One authority, and certificates that it signed; made once, since it takes a while. */
export const AUTHORITY = await makeAuthority();
export const GOOD = await makeCertificate({
  authority: AUTHORITY,
  names: ["localhost", "service.test"],
  ips: ["127.0.0.1"],
});
