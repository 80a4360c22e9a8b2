/** TLS to a local service: `https://` targets. */
import { isIP, type TcpSocketConnectOpts } from "node:net";
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from "node:tls";
import type { TargetTls } from "../../link/messages.ts";
import { formatTarget, type TcpTarget } from "../../link/target.ts";
import { isCertificate } from "../../runtime/certificates.ts";
import { isHostName } from "../../runtime/net-address.ts";
import { DialError, isConnectError } from "./dial-failure.ts";
import { distrust } from "./tls-words.ts";

/** The authorities that Node.js knows, and the target's own name. */
const STRICT: TargetTls = { insecure: false, ca: "", serverName: "" };

interface Proof {
  target: TcpTarget;
  context: SecureContext;
  insecure: boolean;
  /** What the service is asked for, and its certificate must be made out to. */
  name: string;
}

/** How the service at one target proves itself, and the session that its next connection may resume. */
export class ServiceTls {
  readonly #proof: Proof;
  #session: Buffer | undefined;

  private constructor(proof: Proof) {
    this.#proof = proof;
  }

  /** @throws Error that says which of the settings cannot be used */
  static to(target: TcpTarget, { insecure, ca, serverName }: TargetTls = STRICT): ServiceTls {
    if (serverName !== "" && !isHostName(serverName)) throw new Error("its server name is no hostname");
    // node:tls takes anything for authorities, and then trusts nobody.
    if (ca !== "" && !isCertificate(ca)) throw new Error("its certificates to trust are none");
    const context = createSecureContext(ca === "" ? {} : { ca });
    return new ServiceTls({ target, context, insecure, name: serverName || target.host });
  }

  /** The same service under another name, with a session of its own: a service may resume none of another name's. */
  named(name: string): ServiceTls {
    return new ServiceTls({ ...this.#proof, name });
  }

  /** The name that a request's Host asks for; that of the service itself if it is none. */
  nameOf(host: string): string {
    const name = host.replace(/:[0-9]*$/, "").replace(/^\[(.*)\]$/, "$1");
    return isHostName(name) || isIP(name) !== 0 ? name.toLowerCase() : this.#proof.name;
  }

  /**
   * Starts connecting. "secureConnect" comes when the service has proven itself; nothing is sent before. What goes wrong
   * until then comes as the socket's "error", for `dialFailure`.
   */
  connect(options: TcpSocketConnectOpts & { allowHalfOpen: boolean }): TLSSocket {
    const { context, insecure, name } = this.#proof;
    const socket = connect({
      ...options,
      secureContext: context,
      // SNI carries names only (RFC 6066 section 3).
      servername: isIP(name) === 0 ? name.replace(/\.$/, "") : "",
      ALPNProtocols: ["http/1.1"],
      rejectUnauthorized: !insecure,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
      ...(this.#session && { session: this.#session }),
    });
    // Also, a write that waits within node:tls takes the place of the handshake's error: EPROTO, without a reason.
    socket.cork();
    let secure = false;
    socket.once("secureConnect", () => {
      secure = true;
      socket.uncork();
    });
    socket.on("session", (session) => (this.#session = session));
    // Behind the handshake node:tls leaves a socket open that has failed.
    socket.on("error", () => socket.destroy());

    const destroy = socket._destroy.bind(socket);
    socket._destroy = (error, callback) =>
      destroy(error && !secure ? this.#explain(error, socket) : error, callback);
    return socket;
  }

  /** An error of the handshake, where it does not say by itself what went wrong. */
  #explain(error: NodeJS.ErrnoException, socket: TLSSocket): Error {
    const { target, name } = this.#proof;
    const where = formatTarget(target);
    if (socket.authorizationError)
      return new DialError("UNREACHABLE", `${where} is not trusted: ${distrust(error, name)}`);
    if (error.code === "ECONNRESET" && !isConnectError(error))
      return new DialError("UNREACHABLE", `${where} closed the connection instead of speaking TLS`);
    return error;
  }
}
