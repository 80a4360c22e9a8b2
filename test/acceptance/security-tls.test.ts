import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { beforeAll, describe, expect, test } from "vitest";
import { encodeAccessKey, spkiPin } from "../../link/access-key.ts";
import { makeAuthority, makeCertificate, type Authority, type Identity } from "../support/certificates.ts";
import { CLIENT, startProgram, type Program } from "../support/processes.ts";
import { hasProgram } from "../support/programs.ts";
import { RawServer, welcome } from "../support/raw-server.ts";
import { lastingDirectory } from "../support/temporary-directory.ts";

/** Whatever a client says to it is kept: below TLS as it came, and above it. */
class FakeServer implements AsyncDisposable {
  readonly heard: Buffer[] = [];
  /** Connections that were ever taken. */
  accepted = 0;
  readonly #server: Server;
  readonly #behind: RawServer;
  readonly #sockets = new Set<Socket>();

  private constructor(behind: RawServer, identity: Identity | undefined, answer: string | undefined) {
    this.#behind = behind;
    this.#server = identity ? createTlsServer({ ...identity, ALPNProtocols: ["h2"] }) : createServer();
    this.#server.on(identity ? "secureConnection" : "connection", (socket: Socket) => {
      this.#keep(socket);
      socket.on("data", (bytes: Buffer) => this.heard.push(bytes));
      if (answer === undefined) this.#passOn(socket);
      else socket.write(answer);
    });
    this.#server.on("connection", (socket: Socket) => {
      this.accepted++;
      this.#keep(socket);
      if (identity) socket.prependListener("data", (bytes: Buffer) => this.heard.push(bytes));
    });
  }

  /**
   * One that welcomes whoever gets that far.
   *
   * @param options.identity without it there is no TLS
   * @param options.answer said in place of a tunnel-server's own words
   */
  static async start(options: { identity?: Identity; answer?: string } = {}): Promise<FakeServer> {
    const behind = await RawServer.start((call) => call.say([welcome([])]));
    const fake = new FakeServer(behind, options.identity, options.answer);
    fake.#server.listen(0, "127.0.0.1");
    await once(fake.#server, "listening");
    return fake;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  hasHeard(secret: Buffer): boolean {
    return Buffer.concat(this.heard).includes(secret);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
    await this.#behind[Symbol.asyncDispose]();
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #passOn(socket: Socket): void {
    const onward = connect(this.#behind.port, "127.0.0.1");
    this.#keep(onward);
    socket.pipe(onward).pipe(socket);
    socket.once("close", () => onward.destroy());
  }
}

let authority: Authority;
let pinned: Identity;
beforeAll(async () => {
  authority = await makeAuthority();
  pinned = await makeCertificate({ fromDays: -3, toDays: -2, names: ["elsewhere.test"] });
});

interface Tried extends AsyncDisposable {
  client: Program;
  secret: Buffer;
  keyId: Buffer;
}

/** A client as its user starts it. @param options.pin of its key */
async function startClient(
  port: number,
  options: { pin?: Buffer; host?: string; args?: string[]; env?: NodeJS.ProcessEnv } = {},
): Promise<Tried> {
  const { pin, host = "127.0.0.1", args = [], env = {} } = options;
  const [secret, keyId] = [randomBytes(16), randomBytes(8)];
  const directory = await lastingDirectory();
  const keyFile = join(directory.path, "client.key");
  const ca = join(directory.path, "ca.pem");
  await writeFile(ca, authority.cert);
  await writeFile(keyFile, encodeAccessKey({ keyId, secret, host, port, ...(pin && { pin }) }), {
    mode: 0o600,
  });
  const all = [
    "http",
    "1",
    "--key-file",
    keyFile,
    "--data-dir",
    directory.path,
    ...args.map((arg) => (arg === "CA" ? ca : arg)),
  ];
  const client = startProgram(CLIENT, all, { env });
  return {
    client,
    secret,
    keyId,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** What `faketime` puts before a program; the command itself would stay between us and the client. */
function fakeTimeLibrary(): string {
  return execFileSync("faketime", ["-m", "-f", "+0", "printenv", "LD_PRELOAD"], { encoding: "utf8" }).trim();
}

/** What the client says of its first try, whether it goes on or gives up. */
async function complaint({ client }: Tried): Promise<string> {
  const tried = client.logged("offline; trying again").then(
    () => {},
    () => {},
  );
  await Promise.race([tried, client.exited]);
  return client.output();
}

/** How a try ended, and whether the key was said in it. */
async function outcome(
  fake: FakeServer,
  tried: Tried,
): Promise<{ said: string; online: boolean; heard: boolean }> {
  const said = await complaint(tried);
  const heard = fake.hasHeard(tried.secret) || fake.hasHeard(tried.keyId);
  return { said, online: said.includes('"online"'), heard };
}

function refusedFor(words: RegExp) {
  return { said: expect.stringMatching(words) as string, online: false, heard: false };
}

const pin = () => spkiPin(pinned.cert);

describe.concurrent("a key with a pin is not said to", () => {
  test("a server with another certificate", async () => {
    await using fake = await FakeServer.start({ identity: await makeCertificate({ ips: ["127.0.0.1"] }) });
    await using tried = await startClient(fake.port, { pin: pin() });
    expect(await outcome(fake, tried)).toEqual(refusedFor(/not the one in the access key/));
  });

  test("a server for which a trusted authority vouches", async () => {
    await using fake = await FakeServer.start({
      identity: await makeCertificate({ authority, ips: ["127.0.0.1"] }),
    });
    await using tried = await startClient(fake.port, { pin: pin(), args: ["--ca", "CA"] });
    expect(await outcome(fake, tried)).toEqual(refusedFor(/not the one in the access key/));
  });

  test("a server without TLS", async () => {
    await using fake = await FakeServer.start();
    await using tried = await startClient(fake.port, { pin: pin() });
    expect(await outcome(fake, tried)).toEqual(
      refusedFor(/answers, but not with TLS|closes the connection when TLS begins/),
    );
  });

  test("a server without TLS, even if its user says --plaintext", async () => {
    await using fake = await FakeServer.start();
    await using tried = await startClient(fake.port, { pin: pin(), args: ["--plaintext"] });
    expect((await tried.client.exited).code).toBe(2);
    expect(tried.client.output()).toMatch(/--plaintext: the access key carries the pin/);
    expect(fake.heard).toEqual([]);
  });

  test.for([
    ["a web server", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"],
    ["an SSH server", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["an SMTP server, which speaks first", "220 mail ESMTP\r\n"],
    ["bytes that are nothing", "\0\0\0\0\0\0\0\0\0"],
  ] as const)("%s", async ([, answer]) => {
    await using fake = await FakeServer.start({ answer });
    await using tried = await startClient(fake.port, { pin: pin() });
    expect(await outcome(fake, tried)).toEqual(refusedFor(/answers, but not with TLS|cannot be connected/));
  });

  test("nobody but the server that has it, expired and made out to another name as it is", async () => {
    await using fake = await FakeServer.start({ identity: pinned });
    await using tried = await startClient(fake.port, { pin: pin() });
    await tried.client.logged("online");
    // It would have been heard in the other cases too.
    expect(fake.hasHeard(tried.secret)).toBe(true);
  });

  test.runIf(hasProgram("faketime"))(
    "nobody but the server that has it, whatever the time is here",
    async () => {
      await using fake = await FakeServer.start({ identity: pinned });
      for (const time of ["1971-01-01 00:00:00", "2037-12-31 00:00:00"]) {
        await using tried = await startClient(fake.port, {
          pin: pin(),
          env: { LD_PRELOAD: fakeTimeLibrary(), FAKETIME: `@${time}`, FAKETIME_DONT_FAKE_MONOTONIC: "1" },
        });
        await tried.client.logged("online");
        expect(fake.hasHeard(tried.secret)).toBe(true);
      }
    },
  );
});

describe.concurrent("a key without a pin is not said to a server", () => {
  test.for<[name: string, make: () => Promise<Identity>, words: RegExp]>([
    [
      "whose certificate has expired",
      () => makeCertificate({ authority, fromDays: -3, toDays: -2 }),
      /has expired/,
    ],
    [
      "whose certificate is not valid yet",
      () => makeCertificate({ authority, fromDays: 2, toDays: 3 }),
      /not valid yet/,
    ],
    [
      "of another name",
      () => makeCertificate({ authority, names: ["other.test"] }),
      /not made out to localhost.*other\.test/,
    ],
    [
      "of a wildcard beside its name",
      () => makeCertificate({ authority, names: ["*.localhost"] }),
      /not made out to localhost/,
    ],
    [
      "of an authority that is unknown",
      async () => makeCertificate({ authority: await makeAuthority() }),
      /not trusted/,
    ],
    ["that has signed for itself", () => makeCertificate(), /not trusted/],
    [
      "without TLS",
      () => Promise.resolve({ cert: "", key: "" }),
      /answers, but not with TLS|closes the connection when TLS begins/,
    ],
  ])("%s", async ([, make, words]) => {
    const made = await make();
    await using fake = await FakeServer.start(made.cert === "" ? {} : { identity: made });
    await using tried = await startClient(fake.port, { host: "localhost", args: ["--ca", "CA"] });
    expect(await outcome(fake, tried)).toEqual(refusedFor(words));
  });

  test("that only --ca would vouch for, without it", async () => {
    await using fake = await FakeServer.start({ identity: await makeCertificate({ authority }) });
    await using tried = await startClient(fake.port, { host: "localhost" });
    expect(await outcome(fake, tried)).toEqual(refusedFor(/not trusted/));
  });

  test("unless the certificate is right", async () => {
    await using fake = await FakeServer.start({ identity: await makeCertificate({ authority }) });
    await using tried = await startClient(fake.port, { host: "localhost", args: ["--ca", "CA"] });
    await tried.client.logged("online");
    expect(fake.hasHeard(tried.secret)).toBe(true);
  });
});
