import { readdir, readFile } from "node:fs/promises";
import { describe, expect } from "vitest";
import { fieldValues, rawFields, RawVisitor } from "../support/raw-visitor.ts";
import { RawClient, wanted } from "../support/raw-client.ts";
import { acceptance } from "./acceptance.ts";
import { FORWARDED, get, HOST, KEEP_ALIVE, ok, request } from "./messages.ts";
import { makeKey } from "./more-keys.ts";
import { plainWayTo } from "./plain-way.ts";
import type { Tunnel } from "./tunnel.ts";
import { CLIENT, createKeyByCommand, runProgram, SERVER, startProgram } from "../support/processes.ts";
import { join } from "node:path";

/** A pattern with a mistake works for minutes on what costs a good one a few milliseconds. */
const MAX_CPU_MS = 1_000;

/** What both programs have worked so far: unlike the time of a request it is the same on a busy machine. */
async function workedMs(tunnel: Tunnel): Promise<number> {
  const times = [tunnel.server, tunnel.client].map(async ({ pid }) => {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // proc(5): utime and stime are the 14th and 15th field, in ticks of 10 ms; a name in parentheses is the second.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  });
  return (await Promise.all(times)).reduce((sum, ms) => sum + ms, 0);
}

describe("names that objects have mean nothing special", () => {
  const NAMES = [
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "valueOf",
    "__defineGetter__",
  ];

  acceptance.for(NAMES)("as a field: %s", async (name, { tunnel }) => {
    tunnel.backend.answer(ok("ok", `${name}: polluted`, `${name}: twice`));
    const own = [`${name}: polluted`, `${name}: {"status":500}`, `X-${name}: 1`];
    const visitor = await tunnel.request(get("/", ...own));
    const answer = await visitor.answer();
    expect(answer.status).toBe(200);
    expect(fieldValues(answer.fields, name)).toEqual(["polluted", "twice"]);
    expect(tunnel.backend.requests[0]!.fields).toEqual(rawFields(HOST, ...own, ...FORWARDED, KEEP_ALIVE));
  });

  acceptance.for(NAMES)("as a trailer: %s", async (name, { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.request(
      request("POST /", ["Transfer-Encoding: chunked"], `1\r\nx\r\n0\r\n${name}: polluted\r\n\r\n`),
    );
    expect((await visitor.answer()).status).toBe(200);
    const { trailers } = await tunnel.backend.requests[0]!.body();
    expect(trailers).toEqual([name, "polluted"]);
  });

  acceptance.for(NAMES)(
    "as what Connection, Upgrade, Accept and Expect name: %s",
    async (name, { tunnel }) => {
      tunnel.backend.answer(ok("ok"));
      for (const field of ["Connection", "Accept", "TE", "Trailer", "X-Forwarded-For", "Forwarded"]) {
        const visitor = await tunnel.request(get("/", `${field}: ${name}`));
        expect((await visitor.answer()).status).toBe(200);
      }
      // The page of a tunnel that is not there reads Accept.
      const visitor = await tunnel.request(
        `GET / HTTP/1.1\r\nHost: nobody.localhost\r\nAccept: ${name}\r\n\r\n`,
      );
      expect((await visitor.answer()).status).toBe(404);
    },
  );

  acceptance.for(NAMES)("as a host, a label, a target and a query: %s", async (name, { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    for (const host of [name, `${name}.localhost`, `app.localhost.${name}`]) {
      const visitor = await tunnel.request(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      expect((await visitor.answer()).status).toBe(404);
    }
    const target = `/${name}/..;/${name}?${name}=1&${name}[${name}]=2&constructor.prototype.x=3`;
    const visitor = await tunnel.request(get(target));
    expect((await visitor.answer()).status).toBe(200);
    expect(tunnel.backend.requests.map((each) => each.target)).toEqual([target]);
  });

  acceptance("as a key's name, a client's id, a tunnel's name", async ({ tunnel }) => {
    tunnel.allow(/client offline/);
    await using way = await plainWayTo({ host: tunnel.address.host, port: tunnel.server.grpcPort });
    const token = await makeKey(tunnel, "constructor");
    for (const name of NAMES) {
      using client = new RawClient(way.port).hello(token, {
        clientId: name,
        version: name,
        sessionToken: name,
        wanted: [wanted("sub", { name, target: "127.0.0.1:1" })],
      });
      expect((await client.welcomed()).tunnels).toMatchObject([
        { name, url: expect.stringContaining("sub.localhost") as unknown },
      ]);
    }
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});

describe("what takes a bad pattern for ever takes less than a second of work", () => {
  const LONG = 14_000;
  acceptance.for<[name: string, sent: string]>([
    ["a Host of dots", `GET / HTTP/1.1\r\nHost: ${".".repeat(LONG)}\r\n\r\n`],
    ["a Host of hyphens", `GET / HTTP/1.1\r\nHost: a${"-".repeat(LONG)}\r\n\r\n`],
    ["a Host of labels", `GET / HTTP/1.1\r\nHost: ${"a.".repeat(LONG / 2)}!\r\n\r\n`],
    ["a Host of hyphens and letters", `GET / HTTP/1.1\r\nHost: ${"a-".repeat(LONG / 2)}\r\n\r\n`],
    [
      "a Host of underscores in labels of 63",
      `GET / HTTP/1.1\r\nHost: ${`${"_".repeat(63)}.`.repeat(200)}\r\n\r\n`,
    ],
    ["a Host of digits", `GET / HTTP/1.1\r\nHost: ${"1".repeat(LONG)}\r\n\r\n`],
    ["a Host of numbers", `GET / HTTP/1.1\r\nHost: ${"1.".repeat(LONG / 2)}1\r\n\r\n`],
    ["a Host of punycode", `GET / HTTP/1.1\r\nHost: ${"xn--a.".repeat(40)}localhost\r\n\r\n`],
    ["a Host of colons", `GET / HTTP/1.1\r\nHost: ${":".repeat(LONG)}\r\n\r\n`],
    ["a Host of brackets", `GET / HTTP/1.1\r\nHost: ${"[".repeat(LONG)}\r\n\r\n`],
    ["an IPv6 Host without end", `GET / HTTP/1.1\r\nHost: [${"1:".repeat(LONG / 2)}]\r\n\r\n`],
    ["a port without end", `GET / HTTP/1.1\r\nHost: app.localhost:${"0".repeat(LONG)}\r\n\r\n`],
    ["an absolute target of slashes", `GET http:${"/".repeat(LONG)} HTTP/1.1\r\n${HOST}\r\n\r\n`],
    ["an absolute target of dots", `GET http://${".".repeat(LONG)}/ HTTP/1.1\r\n${HOST}\r\n\r\n`],
    ["a target of percent signs", get(`/${"%".repeat(LONG)}`)],
    ["a target of dot segments", get(`/${"../".repeat(LONG / 3)}`)],
    ["a query of ampersands", get(`/?${"&a[".repeat(LONG / 3)}`)],
    ["an Accept of commas", `GET / HTTP/1.1\r\nHost: x.localhost\r\nAccept: ${",".repeat(LONG)}\r\n\r\n`],
    [
      "an Accept of semicolons",
      `GET / HTTP/1.1\r\nHost: x.localhost\r\nAccept: text/html${";".repeat(LONG)}\r\n\r\n`,
    ],
    ["an Accept of spaces", `GET / HTTP/1.1\r\nHost: x.localhost\r\nAccept: a${" ".repeat(LONG)}b\r\n\r\n`],
    [
      "an Accept of ranges",
      `GET / HTTP/1.1\r\nHost: x.localhost\r\nAccept: ${"a/b;q=0.1,".repeat(LONG / 10)}\r\n\r\n`,
    ],
    ["an Accept of q", `GET / HTTP/1.1\r\nHost: x.localhost\r\nAccept: a/b;q=${"0".repeat(LONG)}\r\n\r\n`],
    ["a Connection of commas", get("/", `Connection: ${",".repeat(LONG)}`)],
    ["a Connection of spaces", get("/", `Connection: a${" ".repeat(LONG)}b`)],
    ["a Connection of names", get("/", `Connection: ${"x,".repeat(LONG / 2)}`)],
    ["an Upgrade of commas", get("/", "Connection: upgrade", `Upgrade: h2c${",".repeat(LONG)}`)],
    ["an X-Forwarded-For of addresses", get("/", `X-Forwarded-For: ${"1.1.1.1,".repeat(LONG / 8)}`)],
    [
      "a Transfer-Encoding of names",
      request("POST /", [`Transfer-Encoding: ${"a,".repeat(LONG / 2)}chunked`]),
    ],
    ["a Transfer-Encoding of spaces", request("POST /", [`Transfer-Encoding: a${" ".repeat(LONG)},chunked`])],
    ["a Transfer-Encoding of tabs", request("POST /", [`Transfer-Encoding: a,${"\t ".repeat(LONG / 2)}x`])],
    ["a Transfer-Encoding of commas", request("POST /", [`Transfer-Encoding: ${" ,".repeat(LONG / 2)}`])],
    ["a length of zeros", request("POST /", [`Content-Length: ${"0".repeat(LONG)}`])],
    ["an Expect of commas", request("POST /", [`Expect: ${",".repeat(LONG)}`, "Content-Length: 0"])],
    ["a value of spaces", get("/", `X: a${" ".repeat(LONG)}b`)],
    ["a method of letters", `${"A".repeat(LONG)} / HTTP/1.1\r\n${HOST}\r\n\r\n`],
    ["a version of digits", `GET / HTTP/${"1".repeat(LONG)}\r\n${HOST}\r\n\r\n`],
    ["a line of spaces", `GET${" ".repeat(LONG)}/ HTTP/1.1\r\n${HOST}\r\n\r\n`],
    ["a line of words", `${"a ".repeat(LONG / 2)}\r\n${HOST}\r\n\r\n`],
  ])("%s", async ([, sent], { tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.visitor();
    const before = await workedMs(tunnel);
    visitor.request(sent);
    const answer = visitor.answer();
    const other = await tunnel.request(get("/other"));
    expect((await other.answer()).status).toBe(200);
    expect((await answer).status).toBeGreaterThanOrEqual(200);
    expect((await workedMs(tunnel)) - before).toBeLessThan(MAX_CPU_MS);
  });

  acceptance.for<[name: string, fields: string]>([
    ["a Connection of commas", `Connection: ${",".repeat(LONG)}`],
    ["a Connection of spaces", `Connection: a${" ".repeat(LONG)}b`],
    [
      "a Content-Disposition of quotes",
      `Content-Disposition: attachment; filename=${'"\\'.repeat(LONG / 2)}`,
    ],
    ["a Keep-Alive of equals signs", `Keep-Alive: timeout=${"=".repeat(LONG)}`],
    ["a Keep-Alive of digits", `Keep-Alive: timeout=${"1".repeat(LONG)}`],
    ["a Location of slashes", `Location: ${"/".repeat(LONG)}`],
  ])("and so does an answer with %s", async ([, fields], { tunnel }) => {
    tunnel.backend.answer(ok("ok", fields));
    const before = await workedMs(tunnel);
    const visitor = await tunnel.request(get());
    expect([200, 502]).toContain((await visitor.answer()).status);
    expect((await workedMs(tunnel)) - before).toBeLessThan(MAX_CPU_MS);
  });
});

describe("names that lead elsewhere in a file system", () => {
  const PATHS = [
    "../x",
    "../../etc/cron.d/x",
    "/tmp/x",
    "a/b",
    "a\\b",
    "..",
    "a\0b",
    "~/x",
    "con",
    "x".repeat(5_000),
  ];

  acceptance.for(PATHS)("make no file as a client's id or session: %j", async (path, { tunnel }) => {
    tunnel.allow(/client offline|client refused/);
    await using way = await plainWayTo({ host: tunnel.address.host, port: tunnel.server.grpcPort });
    const before = await readdir(tunnel.directory, { recursive: true });
    for (const more of [
      { clientId: path.slice(0, 64) },
      { clientId: path },
      { sessionToken: path },
      { version: path },
    ]) {
      using client = new RawClient(way.port).hello(tunnel.token, {
        wanted: [wanted("paths", { name: path.slice(0, 64), target: "127.0.0.1:1" })],
        ...more,
      });
      // What is longer than any client says ends the call before anybody makes an object of it.
      const said = await Promise.race([
        client.heard.message("welcome"),
        client.heard.message("refused"),
        client.over.then(() => undefined),
      ]);
      if (said?.message === "refused") expect(said.refused.code).toBe("protocol");
      if (!said) expect(path.length).toBeGreaterThan(256);
    }
    expect(await readdir(tunnel.directory, { recursive: true })).toEqual(before);
  });

  acceptance("make no key", async ({ tunnel }) => {
    const before = await readdir(tunnel.directory, { recursive: true });
    for (const name of ["../culvert-escaped", "a/b", "", "__proto__/x"]) {
      const args = [
        "key",
        "create",
        "--name",
        name,
        "--data-dir",
        tunnel.directory,
        "--public-address",
        "127.0.0.1:1",
      ];
      const { code, output } = await runProgram(SERVER, args);
      expect([name, code]).toEqual([name, 2]);
      expect(output).not.toContain("culvert_");
    }
    expect(await readdir(tunnel.directory, { recursive: true })).toEqual(before);
    expect(await readdir(join(tunnel.directory, ".."))).not.toContain("culvert-escaped");
  });
});

describe("a line of a log", () => {
  /** C0 but for the line feed that ends a line, DEL, C1 in UTF-8, and what turns text around. */
  const RAW =
    /[\0-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf/;
  const HOSTILE = [
    "\x1b[2J\x1b[H",
    "\x1b]0;owned\x07",
    "\x9b31m",
    "\xc2\x9b31m",
    "\xe2\x80\xae",
    "\xe2\x80\xa8",
    "\xef\xbb\xbf",
    "\x7f",
    '","level":"error","message":"forged',
    "${jndi:ldap://127.0.0.1:1/x}",
    "%s%n%d",
  ];

  acceptance(
    "holds nothing raw of what visitors and local services say, and is never long",
    async ({ tunnel }) => {
      const before = tunnel.server.output().length;
      tunnel.backend.answer("nonsense\x1b[2J\r\n\r\n");
      for (const text of HOSTILE) {
        const printable = /^[\x20-\x7e]+$/.test(text) && !/[" ]/.test(text);
        const visitor = await tunnel.visitor();
        visitor.request(
          get(printable ? `/${text}` : "/", `X: ${text.replace(/[\x00-\x08\x0a-\x1f\x7f]/g, "")}`),
        );
        await visitor.answer();
        const bad = await tunnel.visitor();
        bad.send(`GET /${text} HTTP/1.1\r\nHost: ${text}\r\nReferer: ${text}\r\n\r\n`);
        await bad.answer();
      }
      await tunnel.served(5_000);
      for (const program of [tunnel.server, tunnel.client]) {
        const output = Buffer.from(program.output(), "utf8").toString("latin1");
        expect(output).not.toMatch(RAW);
        for (const line of output.trimEnd().split("\n")) {
          expect(() => JSON.parse(line) as unknown).not.toThrow();
          expect(line.length).toBeLessThan(8_192);
        }
      }
      expect(tunnel.server.output().slice(before)).not.toMatch(/^\{"level":"error"/m);
    },
  );

  acceptance("of a target of 100 KB and of a head of 30 KB is cut", async ({ tunnel }) => {
    tunnel.backend.answer(ok("ok"));
    const visitor = await tunnel.visitor();
    visitor.send(get(`/${"a".repeat(100_000)}`));
    expect([400, 414, 431]).toContain((await visitor.answer()).status);
    const most = await tunnel.request(get(`/${"\\u001b".repeat(5_000)}`));
    expect((await most.answer()).status).toBe(200);
    const host = await tunnel.visitor();
    host.send(`GET / HTTP/1.1\r\nHost: ${"h".repeat(30_000)}\r\n\r\n`);
    expect((await host.answer()).status).toBe(400);
    await tunnel.served(5_000);
    for (const program of [tunnel.server, tunnel.client])
      for (const line of program.output().split("\n")) expect(line.length).toBeLessThan(8_192);
  });

  acceptance(
    "of a client that names itself with control characters holds none of them, in both formats",
    async ({ tunnel }) => {
      tunnel.allow(/client offline|client refused/);
      await using way = await plainWayTo({ host: tunnel.address.host, port: tunnel.server.grpcPort });
      for (const text of ["\x1b[2Jx", "a\nb", "a\r\nb", "\u202egnp", "\u2028x", "\u009b31m"]) {
        using client = new RawClient(way.port).hello(tunnel.token, {
          clientId: text,
          version: text,
          wanted: [wanted("text", { name: text, target: "127.0.0.1:1" })],
        });
        await Promise.race([client.heard.message("welcome"), client.heard.message("refused")]);
        using refused = new RawClient(way.port).hello(tunnel.token, { wanted: [wanted(text)] });
        await refused.heard.message("refused");
      }
      await tunnel.served(5_000);
      const output = Buffer.from(tunnel.server.output(), "utf8").toString("latin1");
      expect(output).not.toMatch(RAW);
      for (const line of output.trimEnd().split("\n"))
        expect(() => JSON.parse(line) as unknown).not.toThrow();
    },
  );

  acceptance("for people holds none of them either", async ({ tunnel }) => {
    tunnel.allow(/client offline/);
    const dataDir = join(tunnel.directory, "pretty");
    const args = [
      "--data-dir",
      dataDir,
      "--log-format",
      "pretty",
      "--http-listen",
      "127.0.0.1:0",
      "--grpc-listen",
      "127.0.0.1:0",
    ];
    await using server = startProgram(SERVER, args);
    await server.printed("listening");
    const [http, grpc] = ["http", "grpc"].map((name) =>
      Number(new RegExp(`${name}=127\\.0\\.0\\.1:(\\d+)`).exec(server.output())![1]),
    );
    const token = await createKeyByCommand(dataDir, grpc!);
    const target = String(tunnel.backend.target.port);
    await using client = startProgram(CLIENT, [
      "http",
      target,
      "--subdomain",
      "app",
      "--key",
      token,
      "--data-dir",
      dataDir,
      "--log-format",
      "pretty",
    ]);
    await client.printed("serving");
    tunnel.backend.answer("nonsense\x1b[2J\r\n\r\n");
    for (const text of HOSTILE) {
      for (const sent of [
        get(`/${text}`),
        get("/", `Referer: ${text}`, `User-Agent: ${text}`),
        `GET / HTTP/1.1\r\nHost: ${text}\r\n\r\n`,
      ]) {
        const visitor = await RawVisitor.connect(http!);
        visitor.send(sent.replace("\r\n", `\r\n${Object.entries(tunnel.mark()).flat().join(": ")}\r\n`));
        await visitor.answer();
        visitor.close();
      }
    }
    const last = await RawVisitor.connect(http!);
    last.send(get(`/${"a".repeat(20_000)}`, Object.entries(tunnel.mark()).flat().join(": ")));
    await last.answer();
    last.close();
    await Promise.all([server.printed("/aaaa"), client.printed("/aaaa")]);
    for (const { output } of [server, client]) {
      expect(Buffer.from(output(), "utf8").toString("latin1")).not.toMatch(RAW);
      for (const line of output().trimEnd().split("\n")) {
        expect(line).toMatch(/^\d\d:\d\d:\d\d (?:debug|info|warn|error) /);
        expect(line.length).toBeLessThan(8_192);
      }
    }
  });
});
