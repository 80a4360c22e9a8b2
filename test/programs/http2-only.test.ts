import { expect, test } from "vitest";
import { skippedWithout } from "../support/programs.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { startWorld } from "../support/world.ts";
import { startNginx } from "./nginx.ts";

const skipped = skippedWithout("nginx");

test.skipIf(skipped !== "")(
  `a service that speaks only HTTP/2 is named for what it is, and what to do (nginx)${skipped}`,
  async () => {
    await using nginx = await startNginx(
      await temporaryDirectory(),
      ({ port }) => `listen 127.0.0.1:${port} http2;`,
    );
    const { port } = nginx;
    await using world = await startWorld({ service: { host: "127.0.0.1", port } });
    expect((await world.visit("/")).status).toBe(502);
    const told = `127.0.0.1:${port} speaks only HTTP/2; an http tunnel needs HTTP/1.1: switch that on in the service, or use a tcp tunnel`;
    expect((await world.logged("client", "request failed"))["detail"]).toContain(told);
    expect((await world.logged("server", "request"))["detail"]).toContain(told);
  },
);
