import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { listen } from "../../../../server/edge/http/listen.ts";
import { RawVisitor } from "../../../support/raw-visitor.ts";
import { EdgeUnderTest, get } from "./edge-under-test.ts";

describe("listening", () => {
  test("on a port that is in use fails, and says which option to change", async () => {
    await using world = await EdgeUnderTest.start();
    const { port } = world.edge.address;
    await expect(EdgeUnderTest.start({ port })).rejects.toThrow(
      new RegExp(`http\\.listen: 127\\.0\\.0\\.1:${port} is in use`),
    );
  });

  test("on an address of another machine fails, and says which option to change", async () => {
    await expect(EdgeUnderTest.start({ host: "203.0.113.7" })).rejects.toThrow(
      /http\.listen: 203\.0\.113\.7:0 is no address of this machine/,
    );
  });

  test("on a port that needs rights fails, and says what to do", async () => {
    const server = createServer();
    server.listen = () => {
      queueMicrotask(() =>
        server.emit("error", Object.assign(new Error("listen EACCES"), { code: "EACCES" })),
      );
      return server;
    };
    await expect(listen(server, { port: 80 })).rejects.toThrow(/http\.listen: port 80 may not be used.*1024/);
  });

  test("without a host is on IPv4, and on IPv6 where there is one", async () => {
    await using world = await EdgeUnderTest.start({ host: undefined });
    const { port, host } = world.edge.address;
    const four = (await RawVisitor.connect(port)).send(get());
    const visit = await world.route.next();
    expect(visit.request.visitor).toMatch(/^127\.0\.0\.1:[0-9]+$/);
    expect(visit.values("x-forwarded-for")).toEqual(["127.0.0.1"]);
    four.close();
    if (host !== "::") return;

    const six = (await RawVisitor.connect(port, "::1")).send(get());
    const other = await world.route.next();
    expect(other.request.visitor).toMatch(/^\[::1\]:[0-9]+$/);
    expect(other.values("x-forwarded-for")).toEqual(["::1"]);
    expect(other.values("forwarded")).toEqual(['for="[::1]";host=app.test;proto=http']);
    six.close();
  });
});
