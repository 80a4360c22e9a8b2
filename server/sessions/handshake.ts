import type { Carrier } from "../../link/carrier.ts";
import { PROTOCOL_MAX, PROTOCOL_MIN } from "../../link/contract.ts";
import { INITIAL_WINDOW_BYTES } from "../../link/credit.ts";
import { TunnelError } from "../../link/errors.ts";
import { Link } from "../../link/link.ts";
import { keepAlive } from "../../link/liveness.ts";
import type { Hello, SessionMessage } from "../../link/messages.ts";
import type { Log } from "../../runtime/log.ts";
import { cut } from "../../runtime/printable.ts";
import { VERSION } from "../../runtime/version.ts";
import type { Key } from "../access/key-ring.ts";
import type { Registry } from "./registry.ts";
import type { Session } from "./session.ts";

/** Whoever has not said who it is by then is cut off. */
const HELLO_TIMEOUT_MS = 10_000;
/** Over distance several connections carry more than one; on loopback they bring nothing. */
const CONNECTIONS = 4;
const LOOPBACK_CONNECTIONS = 1;
const LOOPBACK = /^(127\.|::1:|::ffff:127\.)/;
/** Tunnels that one client may ask for. */
const MAX_WANTED = 256;
/** Sizes that access keys and clients of this contract have (link/access-key.ts). */
const KEY_ID_BYTES = 8;
const SECRET_BYTES = 16;
const MAX_TEXT = 64;

/** What tests make short. */
export interface ConnectionTuning {
  helloTimeoutMs?: number;
  probe?: { intervalMs: number; timeoutMs: number };
  /** How many connections a session may hold, wherever it comes from. */
  connections?: number;
}

export interface HandshakeOptions extends ConnectionTuning {
  registry: Registry;
  /** Checks who it is, against the newest state of the keys. */
  authenticate: (keyId: Buffer, secret: Buffer) => Promise<Key | undefined>;
  log: Log;
}

/** Serves one connection of a client: its Hello, then whatever its session does with it. */
export function serveConnection(carrier: Carrier, peer: string, options: HandshakeOptions): void {
  const { log } = options;
  let session: Session | undefined;
  let greeted = false;
  let probes: Disposable | undefined;

  const link = new Link({
    carrier,
    side: "server",
    handler: {
      opened: (stream) => stream.reset("UNSUPPORTED", "this server opens the streams"),
      message(message) {
        if (session) return inSession(session, message);
        if (message.message !== "hello" || greeted) throw unexpected(message);
        greeted = true;
        void greet(message.hello);
      },
      closed(error) {
        clearTimeout(helloTimer);
        probes?.[Symbol.dispose]();
        session?.remove(link, error);
        log.debug({ peer, reason: error?.message }, "connection closed");
      },
    },
  });
  const helloTimer = setTimeout(
    () => link.close(new TunnelError("timeout", "no Hello in time")),
    options.helloTimeoutMs ?? HELLO_TIMEOUT_MS,
  );

  async function greet(hello: Hello): Promise<void> {
    try {
      const key = await admit(hello, options);
      if (link.closed) return;
      session = joinOrRegister(hello, key, options.connections ?? connectionsFor(peer), options.registry);
      clearTimeout(helloTimer);
      link.peerStreamCredit = hello.streamCredit;
      link.say({ message: "welcome", welcome: welcomeTo(session, hello) });
      session.add(link);
      probes = keepAlive(link, options.probe);
      log.debug({ peer, key: key.name, version: hello.version }, "connection opened");
    } catch (error) {
      refuse(error);
    }
  }

  function refuse(error: unknown): void {
    if (error instanceof TunnelError) {
      log.warn({ peer, code: error.code, reason: error.message }, "client refused");
      link.say({ message: "refused", refused: { code: error.code, message: error.message } });
    } else {
      log.error({ peer, error }, "a client could not be welcomed");
      link.say({
        message: "refused",
        refused: { code: "internal", message: "The server could not look at the key; its log says why." },
      });
    }
    link.end();
  }
}

/** @throws TunnelError `version`, `protocol` or `key_refused` */
async function admit(hello: Hello, { authenticate }: HandshakeOptions): Promise<Key> {
  if (hello.protocolMin > PROTOCOL_MAX || hello.protocolMax < PROTOCOL_MIN) {
    const which = hello.protocolMin > PROTOCOL_MAX ? "the server" : "the client";
    throw new TunnelError(
      "version",
      `This server (${VERSION}) speaks version ${PROTOCOL_MIN} to ${PROTOCOL_MAX} of the protocol, the client ` +
        `(${cut(hello.version, MAX_TEXT)}) ${hello.protocolMin} to ${hello.protocolMax}. Update ${which}.`,
    );
  }
  if (!isWellFormed(hello)) throw new TunnelError("protocol", "malformed Hello");
  if (hello.wanted.length > MAX_WANTED) {
    throw new TunnelError(
      "name_refused",
      `The client asks for ${hello.wanted.length} tunnels; one client may have ${MAX_WANTED}. Run several.`,
    );
  }
  const key = await authenticate(hello.keyId, hello.secret);
  if (!key) {
    throw new TunnelError(
      "key_refused",
      "The server does not know this access key: it was mistyped, revoked, or made for another server.",
    );
  }
  return key;
}

/** What a client of this contract sends, so that nobody has the server hash or keep megabytes. */
function isWellFormed({ clientId, version, keyId, secret, streamCredit }: Hello): boolean {
  return (
    clientId.length > 0 &&
    clientId.length <= MAX_TEXT &&
    version.length <= MAX_TEXT &&
    keyId.length === KEY_ID_BYTES &&
    secret.length === SECRET_BYTES &&
    streamCredit > 0
  );
}

function connectionsFor(peer: string): number {
  return LOOPBACK.test(peer) ? LOOPBACK_CONNECTIONS : CONNECTIONS;
}

function joinOrRegister(hello: Hello, key: Key, maxConnections: number, registry: Registry): Session {
  const session =
    hello.sessionToken === "" ? undefined : registry.find(hello.sessionToken, key, hello.clientId);
  if (!session)
    return registry.register({ key, clientId: hello.clientId, wanted: hello.wanted, maxConnections });
  if (session.connections >= session.maxConnections) {
    throw new TunnelError(
      "overloaded",
      `The session holds its ${session.maxConnections} connections already.`,
    );
  }
  return session;
}

function welcomeTo(session: Session, hello: Hello) {
  return {
    protocol: Math.min(PROTOCOL_MAX, hello.protocolMax),
    sessionToken: session.token,
    version: VERSION,
    connections: session.maxConnections,
    tunnels: [...session.tunnels],
    streamCredit: INITIAL_WINDOW_BYTES,
  };
}

function inSession(session: Session, message: SessionMessage): void {
  if (message.message !== "drain") throw unexpected(message);
  session.drained();
}

function unexpected(message: SessionMessage): TunnelError {
  return new TunnelError("protocol", `a ${message.message} message out of place`);
}
