import type { Carrier } from "../../link/carrier.ts";
import { FEATURES, PROTOCOL_MAX, PROTOCOL_MIN } from "../../link/contract.ts";
import { INITIAL_WINDOW_BYTES } from "../../link/credit.ts";
import { TunnelError } from "../../link/errors.ts";
import { Link } from "../../link/link.ts";
import { keepAlive } from "../../link/liveness.ts";
import type { Hello, SessionMessage } from "../../link/messages.ts";
import type { UnreadBudget } from "../../link/unread-budget.ts";
import type { Log } from "../../runtime/log.ts";
import { cut } from "../../runtime/printable.ts";
import { VERSION } from "../../runtime/version.ts";
import { networkOfPeer } from "../access/client-network.ts";
import type { Door } from "../access/door.ts";
import { guarded } from "../access/guarded-carrier.ts";
import type { TooManyGuesses } from "../access/guess-limit.ts";
import type { Key } from "../access/key.ts";
import { keyRevoked } from "../access/key-ring.ts";
import type { Registry } from "./registry.ts";
import type { Session } from "./session.ts";

/** Whoever has not said who it is by then is cut off. */
const HELLO_TIMEOUT_MS = 10_000;
/** What a call that is turned away gets to take the reason. */
const TURNED_AWAY_MS = 1_000;
/** Enough for a Hello that wants as many tunnels as it may, with the longest names. */
const MAX_HELLO_BYTES = 256 * 1024;
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
/** What a client can do beyond the first version of the contract. */
const MAX_FEATURES = 32;

/** What tests make short. */
export interface ConnectionTuning {
  helloTimeoutMs?: number;
  probe?: { intervalMs: number; timeoutMs: number };
  /** How many connections a session may hold, wherever it comes from. */
  connections?: number;
}

export interface HandshakeOptions extends ConnectionTuning {
  registry: Registry;
  /** Of the whole server. */
  unreadBudget: UnreadBudget;
  /** Checks who it is, against the newest state of the keys. */
  authenticate: (keyId: Buffer, secret: Buffer) => Promise<Key | undefined>;
  /** Whether a key that `authenticate` took is still good, as far as is known without another look. */
  isStillGood: (keyId: Buffer, secret: Buffer) => boolean;
  log: Log;
}

/** A carrier whose other end is not known yet. */
export interface Caller extends Carrier {
  /** Cuts the connection if it brings more than this before `trust`. */
  distrust?(maxBytes: number): void;
  /** Who calls has shown a key. `false`: there is no room for one more client. */
  becomeClient?(): boolean;
  /** It is known who calls. */
  trust?(): void;
  /** Cuts the connection in so long, unless it ends before. */
  cutWithin?(ms: number): void;
}

/** Serves one connection of a client: its Hello, then whatever its session does with it. */
export function serveConnection(carrier: Caller, peer: string, options: HandshakeOptions): void {
  const { door } = options.registry;
  const network = networkOfPeer(peer);
  const leaveDoor = door.calls.take(network);
  if (leaveDoor) greetCaller(carrier, { peer, network, leaveDoor }, options);
  else turnAway(carrier, { peer, network }, door);
}

/** Says that there is no room, with as little as that takes: no link, and no look at what the call brings. */
function turnAway(carrier: Caller, from: { peer: string; network: string }, { refusals }: Door): void {
  const code = "overloaded";
  const message =
    "Too many clients are knocking at once, from your address or in all. Try again in a moment.";
  refusals.refused({ ...from, code, reason: message });
  carrier.send({ control: [{ message: "refused", refused: { code, message } }], data: [] }, () => {});
  carrier.end();
  carrier.cutWithin?.(TURNED_AWAY_MS);
}

function greetCaller(
  carrier: Caller,
  { peer, network, leaveDoor }: { peer: string; network: string; leaveDoor: () => void },
  options: HandshakeOptions,
): void {
  const { log, registry } = options;
  const maxConnections = options.connections ?? connectionsFor(peer);
  let session: Session | undefined;
  let greeted = false;
  let draining = false;
  let probes: Disposable | undefined;

  carrier.distrust?.(MAX_HELLO_BYTES);
  const link: Link = new Link({
    carrier: guarded(carrier, {
      now: () => performance.now(),
      onBreach: (error) => link.close(error),
    }),
    budget: options.unreadBudget,
    side: "server",
    handler: {
      opened: (stream) => stream.reset("UNSUPPORTED", "this server opens the streams"),
      message(message) {
        if (session && message.message === "drain" && !draining) {
          draining = true;
          return session.drained();
        }
        if (session && message.message === "tunnelStates")
          return session.heardStates(message.tunnelStates.tunnels);
        if (message.message !== "hello" || greeted) throw unexpected(message);
        greeted = true;
        void greet(message.hello);
      },
      closed(error) {
        leaveDoor();
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
    // Revoking ends the sessions that there are; this one is still waiting, for the key or for its ports.
    const isGood = (): boolean => options.isStillGood(hello.keyId, hello.secret);
    try {
      const key = await admit(hello, network, options);
      if (link.closed) return;
      if (!isGood()) throw keyRevoked();
      if (carrier.becomeClient?.() === false) throw noRoom();
      session = join(hello, key, registry) ?? (await newSession(hello, key, isGood));
      if (!session) return;
      clearTimeout(helloTimer);
      leaveDoor();
      carrier.trust?.();
      link.peerStreamCredit = hello.streamCredit;
      link.say({ message: "welcome", welcome: welcomeTo(session, hello) });
      session.add(link);
      probes = keepAlive(link, options.probe);
      log.debug({ peer, key: key.name, version: hello.version }, "connection opened");
    } catch (error) {
      refuse(error);
    }
  }

  /** Undefined if the client has gone meanwhile. */
  async function newSession(
    { clientId, wanted }: Hello,
    key: Key,
    isGood: () => boolean,
  ): Promise<Session | undefined> {
    const { refusedHellos } = registry.door;
    refusedHellos.check(key.id, network);
    try {
      const registration = { key, network, maxConnections, clientId, wanted };
      const tunnels = await registry.prepare(registration);
      if (!link.closed && isGood()) return registry.register(registration, tunnels);
      registry.abandon(registration, tunnels);
      if (link.closed) return undefined;
      throw keyRevoked();
    } catch (error) {
      refusedHellos.refused(key.id, network);
      throw error;
    }
  }

  function refuse(error: unknown): void {
    if (error instanceof TunnelError) {
      registry.door.refusals.refused({ peer, network, code: error.code, reason: error.message });
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

/** @throws TunnelError `version`, `protocol`, `name_refused`, `overloaded` or `key_refused` */
async function admit(hello: Hello, network: string, options: HandshakeOptions): Promise<Key> {
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
  return await keyOf(hello, network, options);
}

/** @throws TunnelError `overloaded` or `key_refused` */
async function keyOf(
  { keyId, secret }: Hello,
  network: string,
  { authenticate, registry }: HandshakeOptions,
): Promise<Key> {
  const { guesses } = registry.door;
  const id = keyId.toString("hex");
  const checkTries = (): void => {
    const tooMany = guesses.tooMany(id, network);
    if (tooMany) throw new TunnelError("overloaded", waitMessage(tooMany));
  };
  checkTries();
  const key = await authenticate(keyId, secret);
  // Others came in meanwhile: whoever sends a thousand guesses at once learns no more than ten answers, right or wrong.
  checkTries();
  if (!key) {
    guesses.failed(id, network);
    throw new TunnelError(
      "key_refused",
      "The server does not know this access key: it was mistyped, revoked, or made for another server.",
    );
  }
  guesses.succeeded(id, network);
  return key;
}

function waitMessage({ of, waitMs }: TooManyGuesses): string {
  const where = of === "network" ? "came from your address" : "were tried with this key's id";
  const seconds = Math.ceil(waitMs / 1000);
  return `Too many wrong access keys ${where}, so the server has not looked at this one. Try again in ${seconds} s.`;
}

/** What a client of this contract sends, so that nobody has the server hash or keep megabytes. */
function isWellFormed({ clientId, version, keyId, secret, streamCredit, features = [] }: Hello): boolean {
  return (
    clientId.length > 0 &&
    clientId.length <= MAX_TEXT &&
    version.length <= MAX_TEXT &&
    keyId.length === KEY_ID_BYTES &&
    secret.length === SECRET_BYTES &&
    streamCredit > 0 &&
    features.length <= MAX_FEATURES &&
    features.every((feature) => feature.length <= MAX_TEXT)
  );
}

function connectionsFor(peer: string): number {
  return LOOPBACK.test(peer) ? LOOPBACK_CONNECTIONS : CONNECTIONS;
}

/**
 * The session that a further connection belongs to.
 *
 * @throws TunnelError `overloaded`
 */
function join({ sessionToken, clientId }: Hello, key: Key, registry: Registry): Session | undefined {
  const session = sessionToken === "" ? undefined : registry.find(sessionToken, key, clientId);
  if (!session) return undefined;
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
    features: FEATURES,
  };
}

function noRoom(): TunnelError {
  return new TunnelError(
    "overloaded",
    "The server has no room for one more connection of a client. Its owner can give it more descriptors: LimitNOFILE= or ulimit -n.",
  );
}

function unexpected(message: SessionMessage): TunnelError {
  return new TunnelError("protocol", `a ${message.message} message out of place`);
}
