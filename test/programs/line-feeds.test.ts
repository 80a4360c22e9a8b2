import { describe, expect, test } from "vitest";
import { freePort } from "../../bench/free-port.ts";
import { skippedWithout } from "../support/programs.ts";
import { startWorld } from "../support/world.ts";
import { OutsideProgram, outputOf } from "./outside-program.ts";

const skipped = skippedWithout("curl", "nc.openbsd");

describe.skipIf(skipped !== "")(`a device that ends its lines with LF alone (netcat)${skipped}`, () => {
  test.each([
    ["a status of HTTP's", "HTTP/1.0 200 OK\nServer: cam\nContent-Type: text/plain\n\nlive\n", "200"],
    ["a length said twice", "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 5\n\nlive\n", "200"],
    ["a status of its own", "HTTP/1.0 999 Busy\nContent-Length: 5\n\nlive\n", "999"],
  ])("answers curl with %s", async (_, answer, status) => {
    const port = await freePort();
    await using device = new OutsideProgram(["nc.openbsd", "-v", "-N", "-l", "127.0.0.1", String(port)]);
    await device.printed("Listening");
    device.stdin.end(answer);
    await using world = await startWorld({ service: { host: "127.0.0.1", port } });
    const got = await outputOf([
      ..."curl --silent --show-error --include --max-time 20 --noproxy *".split(" "),
      "--resolve",
      `app.localhost:${world.httpPort}:127.0.0.1`,
      `http://app.localhost:${world.httpPort}/`,
    ]);
    expect(got).toMatch(new RegExp(`^HTTP/1\\.1 ${status} \\w+\\r\\n(?:[^\\r\\n]+\\r\\n)+\\r\\nlive\\n$`));
    expect(got.match(/content-length/gi)?.length ?? 0).toBe(answer.includes("Content-Length") ? 1 : 0);
  });
});
