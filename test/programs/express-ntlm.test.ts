import express from "express";
import ntlm from "express-ntlm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { skippedWithout } from "../support/programs.ts";
import { fieldValue, type RawAnswer, RawVisitor } from "../support/raw-visitor.ts";
import { startWorld, type World } from "../support/world.ts";
import { outputOf } from "./outside-program.ts";

const skipped = skippedWithout("curl");

let world: World;
beforeAll(async () => {
  const app = express();
  app.use(ntlm());
  app.use(express.text({ type: "*/*" }));
  app.use(
    (request, response) => void response.send(`${request.ntlm?.UserName} ${String(request.body ?? "")}`),
  );
  world = await startWorld({ service: app });
});
afterAll(() => world[Symbol.asyncDispose]());

describe("a service that signs its visitors in by NTLM (express-ntlm)", () => {
  describe.skipIf(skipped !== "")(`with curl --ntlm${skipped}`, () => {
    test("signs in, 10 times of 10", async () => {
      for (let i = 0; i < 10; i++) expect(await curl("alice")).toBe("alice ");
    });

    test("signs in to post, 10 times of 10", async () => {
      for (let i = 0; i < 10; i++) expect(await curl("alice", "--data", "hello")).toBe("alice hello");
    });

    test("signs several visitors in at a time, each as who they are", async () => {
      const names = Array.from({ length: 10 }, (_, i) => `visitor${i}`);
      expect(await Promise.all(names.map((name) => curl(name)))).toEqual(names.map((name) => `${name} `));
    });
  });

  test("answers nobody else as somebody who is signed in", async () => {
    const alice = await signIn("alice");
    for (let i = 0; i < 20; i++) {
      expect((await ask(alice)).body.toString()).toBe("alice ");
      expect((await world.visit("/")).status).toBe(401);
      expect((await world.visit("/", { method: "POST", body: "x" })).status).toBe(401);
    }
    alice.close();
    for (let i = 0; i < 20; i++) expect((await world.visit("/")).status).toBe(401);
  });

  test("answers whoever has just begun to sign in as nobody else", async () => {
    const [alice, bob] = [await visitor(), await visitor()];
    for (const each of [alice, bob]) expect((await ask(each, NEGOTIATE)).status).toBe(401);
    expect((await ask(bob, authenticate("bob"))).body.toString()).toBe("bob ");
    expect((await ask(alice, authenticate("alice"))).body.toString()).toBe("alice ");
    expect((await ask(bob)).body.toString()).toBe("bob ");
    for (const each of [alice, bob]) each.close();
  });
});

function curl(user: string, ...args: string[]): Promise<string> {
  const { httpPort } = world;
  const place = ["--resolve", `app.localhost:${httpPort}:127.0.0.1`, `http://app.localhost:${httpPort}/`];
  const options = "--silent --show-error --fail --max-time 20 --noproxy * --ntlm --user".split(" ");
  return outputOf(["curl", ...options, `${user}:secret`, ...args, ...place]);
}

function visitor(): Promise<RawVisitor> {
  return RawVisitor.connect(world.httpPort);
}

async function signIn(user: string): Promise<RawVisitor> {
  const signedIn = await visitor();
  const challenge = await ask(signedIn, NEGOTIATE);
  expect(fieldValue(challenge.fields, "www-authenticate")).toMatch(/^NTLM \S/);
  expect((await ask(signedIn, authenticate(user))).body.toString()).toBe(`${user} `);
  return signedIn;
}

function ask(from: RawVisitor, token?: Buffer): Promise<RawAnswer> {
  const authorization = token ? `Authorization: NTLM ${token.toString("base64")}\r\n` : "";
  return from.send(`GET / HTTP/1.1\r\nHost: app.localhost\r\n${authorization}\r\n`).answer();
}

/** NEGOTIATE_MESSAGE of MS-NLMP, with no flags, names or version. */
const NEGOTIATE = Buffer.concat([Buffer.from("NTLMSSP\0\x01\0\0\0"), Buffer.alloc(28)]);

/** AUTHENTICATE_MESSAGE of MS-NLMP with a user, and no proof: a service without a domain controller asks for none. */
function authenticate(user: string): Buffer {
  const head = Buffer.alloc(64);
  head.write("NTLMSSP\0\x03");
  const name = Buffer.from(user);
  for (const [at, length] of [
    [0x0c, 0],
    [0x14, 0],
    [0x1c, 0],
    [0x24, name.length],
    [0x2c, 0],
  ] as const) {
    head.writeUInt16LE(length, at);
    head.writeUInt16LE(length, at + 2);
    head.writeUInt32LE(head.length, at + 4);
  }
  return Buffer.concat([head, name]);
}
