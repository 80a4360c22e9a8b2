import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasProgram } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { startWorld, type World } from "../support/world.ts";

const MIB = 1024 * 1024;
const DOWNLOAD = randomBytes(8 * MIB + 7);

let world: World;
/** Tells the service of /events that its last event has arrived. */
let acknowledge: () => void = () => {};
beforeAll(async () => {
  world = await startWorld({
    service: (incoming, outgoing) => void service(incoming, outgoing),
    tls: "auto",
  });
});
afterAll(() => world[Symbol.asyncDispose]());

async function service(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url!, "http://localhost");
  if (pathname === "/download") {
    response.setHeader("Content-Length", DOWNLOAD.length);
    response.end(DOWNLOAD);
  } else if (pathname === "/events") {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    for (let i = 1; i <= 5; i++) {
      const arrived = new Promise<void>((resolve) => (acknowledge = resolve));
      response.write(`data: ${i}\n\n`);
      await arrived;
    }
    response.end();
  } else {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    response.end(
      JSON.stringify({
        method: request.method,
        path: pathname,
        version: request.httpVersion,
        expect: request.headers.expect,
        length: request.headers["content-length"],
        coding: request.headers["transfer-encoding"],
        bytes,
        sha256: hash.digest("hex"),
      }),
    );
  }
}

/** Runs curl to its end; paths are of the tunnel. */
function curl(...args: string[]): Promise<{ stdout: Buffer; stderr: string }> {
  return new Promise((resolve, reject) => {
    execFile("curl", curlArgs(args), { encoding: "buffer", maxBuffer: 64 * MIB }, (error, stdout, stderr) =>
      error ? reject(error) : resolve({ stdout, stderr: stderr.toString() }),
    );
  });
}

function curlArgs(args: string[]): string[] {
  const url = `http://app.localhost:${world.httpPort}`;
  const resolve = `app.localhost:${world.httpPort}:127.0.0.1`;
  return [
    ..."--silent --show-error --fail --max-time 20 --noproxy *".split(" "),
    "--resolve",
    resolve,
    ...args.map((arg) => (arg.startsWith("/") && !arg.startsWith("/tmp") ? url + arg : arg)),
  ];
}

async function seen(...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse((await curl(...args)).stdout.toString()) as Record<string, unknown>;
}

const hasCurl = hasProgram("curl");

describe.skipIf(!hasCurl)(`curl through the tunnel${hasCurl ? "" : " (skipped: needs curl)"}`, () => {
  test("curl gets", async () => {
    expect(await seen("/hello")).toMatchObject({ method: "GET", path: "/hello", version: "1.1", bytes: 0 });
  });

  test("curl --http1.0 gets, and its answer ends by the close", async () => {
    const { stdout, stderr } = await curl("--verbose", "--http1.0", "/hello");
    expect(JSON.parse(stdout.toString())).toMatchObject({ method: "GET", path: "/hello" });
    expect(stderr).not.toMatch(/transfer-encoding/i);
  });

  test("curl --head is told the length and waits for no body", async () => {
    const { stdout } = await curl("--head", "/download");
    expect(stdout.toString()).toMatch(
      new RegExp(`^HTTP/1.1 200 OK\r\n[^]*Content-Length: ${DOWNLOAD.length}\r\n`),
    );
  });

  test("curl uploads a file, its Expect answered by the local service", async () => {
    const file = join(await temporaryDirectory(), "upload");
    const bytes = randomBytes(3 * MIB + 1);
    await writeFile(file, bytes);
    const args = ["--verbose", "--data-binary", `@${file}`, "--header", "Expect: 100-continue", "/upload"];
    const { stdout, stderr } = await curl(...args);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      method: "POST",
      expect: "100-continue",
      length: String(bytes.length),
      sha256: sha256(bytes),
    });
    expect(stderr).toMatch(/< HTTP\/1.1 100 Continue/);
  });

  test("curl sends a form with a file in it", async () => {
    const file = join(await temporaryDirectory(), "form.bin");
    const bytes = randomBytes(MIB);
    await writeFile(file, bytes);
    const answer = await seen("--form", `file=@${file}`, "--form", "name=value", "/form");
    expect(answer).toMatchObject({ method: "POST" });
    expect(answer.bytes).toBeGreaterThan(MIB);
  });

  test("curl uploads in chunks what comes from standard input", async () => {
    const child = spawn("curl", curlArgs(["--upload-file", "-", "--header", "Expect:", "/stdin"]));
    const bytes = randomBytes(2 * MIB);
    for (let at = 0; at < bytes.length; at += 100_000) child.stdin.write(bytes.subarray(at, at + 100_000));
    child.stdin.end();
    let output = "";
    child.stdout.on("data", (text: Buffer) => (output += text.toString()));
    await once(child, "close");
    expect(JSON.parse(output)).toMatchObject({
      method: "PUT",
      coding: "chunked",
      bytes: bytes.length,
      sha256: sha256(bytes),
    });
  });

  test("curl -N shows each event before the next is made", async () => {
    const child = spawn("curl", curlArgs(["-N", "/events"]));
    let output = "";
    child.stdout.on("data", (text: Buffer) => {
      output += text.toString();
      if (output.endsWith("\n\n")) acknowledge();
    });
    const [code] = (await once(child, "close")) as [number];
    expect({ code, output }).toEqual({
      code: 0,
      output: [1, 2, 3, 4, 5].map((i) => `data: ${i}\n\n`).join(""),
    });
  });

  test("curl downloads, byte for byte", async () => {
    const { stdout } = await curl("/download");
    expect(sha256(stdout)).toBe(sha256(DOWNLOAD));
  });

  test("curl fetches several URLs over one connection", async () => {
    const { stdout, stderr } = await curl(
      "--verbose",
      "/one",
      "--next",
      "-d",
      "x",
      "/two",
      "--next",
      "/three",
    );
    expect(stdout.toString().match(/"path":"[^"]+"/g)).toEqual([
      '"path":"/one"',
      '"path":"/two"',
      '"path":"/three"',
    ]);
    expect(stderr.match(/Re-using existing connection/g)).toHaveLength(2);
  });

  test("curl is told of a tunnel that does not exist", async () => {
    const { stdout } = await curl(
      "--no-fail",
      "--header",
      "Host: other.localhost",
      "--write-out",
      "%{http_code}",
      "/",
    );
    expect(stdout.toString()).toMatch(/404$/);
  });
});

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
