import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { skippedWithout } from "../support/programs.ts";
import { startWorld, type VisitOptions, type World } from "../support/world.ts";
import { OutsideProgram } from "./outside-program.ts";

/** Answers with the path, and reads no body: what a handler does that expects none. */
const SERVICE = `
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        print("asked for", self.path, flush=True)
        answer = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("listening", flush=True)
server.serve_forever()
`;

const HIDDEN = "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

const skipped = skippedWithout("python3");

describe.skipIf(skipped !== "")(`a service that reads no body (Python's http.server)${skipped}`, () => {
  let python: OutsideProgram;
  let world: World;
  beforeAll(async () => {
    const port = await freePort();
    python = new OutsideProgram(["python3", "-c", SERVICE, String(port)]);
    await python.printed("listening");
    world = await startWorld({ service: { host: "127.0.0.1", port } });
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
    await python?.[Symbol.asyncDispose]();
  });

  test.each<[string, VisitOptions]>([
    ["a POST", { method: "POST", body: HIDDEN }],
    ["a POST in chunks", { method: "POST", body: HIDDEN, headers: { "Transfer-Encoding": "chunked" } }],
    ["a GET", { body: HIDDEN, headers: { "Content-Length": String(HIDDEN.length) } }],
    ["a GET in chunks", { body: HIDDEN, headers: { "Transfer-Encoding": "chunked" } }],
  ])("takes the body of %s for no request, and answers every next visitor", async (_, attack) => {
    for (let i = 0; i < 10; i++) {
      expect((await world.visit("/attack", attack)).text).toBe("/attack");
      expect((await world.visit(`/victim-${i}`)).text).toBe(`/victim-${i}`);
    }
    expect(python.stdout).not.toContain("/hidden");
  });
});
