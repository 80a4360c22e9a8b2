import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { describe, expect } from "vitest";
import type { WebSocket } from "ws";
import { acceptance } from "./acceptance.ts";
import { closing, echo, message, visitOverWebSocket, WebSockets } from "./web-sockets.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

function thousandNumbers(socket: WebSocket): Promise<number[]> {
  return new Promise((resolve) => {
    const numbers: number[] = [];
    socket.on("message", (data: Buffer) => {
      if (numbers.push(Number(data)) === 1000) resolve(numbers);
    });
  });
}

describe("WebSocket messages", () => {
  acceptance.for([0, 1, 125, 126, 65_535, 65_536, MIB, 4 * MIB])(
    "of %d bytes come back as they went, from either end",
    async (size, { tunnel }) => {
      const { near, far } = await new WebSockets(tunnel).pair();
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        to.once("message", (data, isBinary) => to.send(data, { binary: isBinary }));
        const bytes = randomBytes(size);
        from.send(bytes);
        const { data, isBinary } = await message(from);
        expect(isBinary).toBe(true);
        expect(data.equals(bytes)).toBe(true);
      }
    },
  );

  acceptance("of text stay text", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair();
    echo(far);
    near.send("grüße 🦆");
    const { data, isBinary } = await message(near);
    expect({ text: data.toString(), isBinary }).toEqual({ text: "grüße 🦆", isBinary: false });
  });

  acceptance("in fragments arrive whole, with a ping between them", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair();
    const arrived = message(far);
    const pinged = once(far, "ping");
    near.send("one ", { fin: false });
    near.ping("between");
    near.send("two ", { fin: false });
    near.send("three", { fin: true });
    expect((await pinged)[0].toString()).toBe("between");
    expect((await arrived).data.toString()).toBe("one two three");
  });

  acceptance("keep their order, a thousand of them each way at once", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair();
    const both = Promise.all([thousandNumbers(near), thousandNumbers(far)]);
    for (let i = 0; i < 1000; i++) {
      near.send(String(i));
      far.send(String(i));
    }
    const inOrder = Array.from({ length: 1000 }, (_, i) => i);
    expect(await both).toEqual([inOrder, inOrder]);
  });

  acceptance("that the service sends with its 101 are not lost", async ({ tunnel }) => {
    const webSockets = new WebSockets(tunnel);
    webSockets.onSocket = (socket) => socket.send("first words");
    expect((await message(webSockets.visit())).data.toString()).toBe("first words");
  });

  acceptance("go one by one, each before the next is sent", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair();
    echo(far);
    for (const token of ["The", " ", "duck", " said", ": ", "quack", "."]) {
      near.send(token);
      expect((await message(near)).data.toString()).toBe(token);
    }
  });

  acceptance("pings are answered by the other end, both ways", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair();
    near.ping("from the visitor");
    expect((await once(near, "pong"))[0].toString()).toBe("from the visitor");
    far.ping("from the service");
    expect((await once(far, "pong"))[0].toString()).toBe("from the service");
  });
});

describe("subprotocols and extensions are agreed on by the ends alone:", () => {
  acceptance("a subprotocol of several", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair(["v1.chat", "v2.chat"]);
    expect([near.protocol, far.protocol]).toEqual(["v2.chat", "v2.chat"]);
  });

  acceptance("permessage-deflate, and both ends use it", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair([], { perMessageDeflate: true });
    expect([near.extensions, far.extensions]).toEqual(["permessage-deflate", "permessage-deflate"]);
    echo(far);
    const compressible = "again and ".repeat(100_000);
    near.send(compressible);
    expect((await message(near)).data.toString()).toBe(compressible);
    const { bytesRead, bytesWritten } = tunnel.backend.connections.at(-1)!.socket;
    expect(bytesRead).toBeLessThan(compressible.length / 10);
    expect(bytesWritten).toBeLessThan(compressible.length / 10);
  });

  acceptance("no extension where none was offered", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair();
    expect([near.extensions, far.extensions]).toEqual(["", ""]);
  });
});

describe("a WebSocket's end", () => {
  acceptance.for<[code: number, reason: string]>([
    [1000, ""],
    [1001, "going away"],
    [1011, "an error of the service's"],
    [3000, "a reason of the program's own"],
    [4999, "x".repeat(123)],
  ])("with code %d goes both ways", async ([code, reason], { tunnel }) => {
    const webSockets = new WebSockets(tunnel);
    const first = await webSockets.pair();
    const farClosing = closing(first.far);
    first.near.close(code, reason);
    expect(await farClosing).toEqual({ code, reason });

    const second = await webSockets.pair();
    const nearClosing = closing(second.near);
    second.far.close(code, reason);
    expect(await nearClosing).toEqual({ code, reason });
  });

  acceptance("without a code is 1005, both ways", async ({ tunnel }) => {
    const webSockets = new WebSockets(tunnel);
    const first = await webSockets.pair();
    const farClosing = closing(first.far);
    first.near.close();
    expect(await farClosing).toEqual({ code: 1005, reason: "" });

    const second = await webSockets.pair();
    const nearClosing = closing(second.near);
    second.far.close();
    expect(await nearClosing).toEqual({ code: 1005, reason: "" });
  });

  acceptance("that is abrupt stays so, both ways", async ({ tunnel }) => {
    const webSockets = new WebSockets(tunnel);
    const first = await webSockets.pair();
    const farClosing = closing(first.far);
    first.near.terminate();
    expect((await farClosing).code).toBe(1006);

    const second = await webSockets.pair();
    const nearClosing = closing(second.near);
    second.far.terminate();
    expect((await nearClosing).code).toBe(1006);
  });

  acceptance("comes behind everything that was sent before it, from either end", async ({ tunnel }) => {
    const { near, far } = await new WebSockets(tunnel).pair();
    let bytes = 0;
    near.on("message", (data: Buffer) => (bytes += data.length));
    for (let i = 0; i < 64; i++) far.send(Buffer.alloc(64 * KIB));
    far.close(1000, "done");
    expect(await closing(near)).toEqual({ code: 1000, reason: "done" });
    expect(bytes).toBe(4 * MIB);
  });
});

acceptance(
  "a refusal comes to a WebSocket's visitor with its status, fields and body",
  async ({ tunnel }) => {
    tunnel.backend.serve(({ connection }) =>
      connection.send(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 9\r\n\r\nwho's you",
      ),
    );
    const near = visitOverWebSocket(tunnel);
    const [, response] = (await once(near, "unexpected-response")) as [unknown, IncomingMessage];
    expect(response.statusCode).toBe(401);
    expect(response.headers["www-authenticate"]).toBe("Basic");
    expect(await text(response)).toBe("who's you");
  },
);

acceptance("a WebSocket that is not read holds its sender back, and loses nothing", async ({ tunnel }) => {
  const webSockets = new WebSockets(tunnel);
  const { near, far } = await webSockets.pair();
  near.pause();
  let sentBytes = 0;
  const total = 24 * MIB;
  const chunk = Buffer.alloc(256 * KIB, "x");
  const sent = (async () => {
    while (sentBytes < total) {
      await new Promise<void>((resolve) => far.send(chunk, () => resolve()));
      sentBytes += chunk.length;
    }
  })();
  // Another socket goes there and back meanwhile, so that this one had its chance.
  const other = await webSockets.pair();
  echo(other.far);
  for (let i = 0; i < 50; i++) {
    other.near.send("tick");
    await message(other.near);
  }
  expect(sentBytes).toBeLessThan(total);

  let received = 0;
  const all = new Promise<void>((resolve) => {
    near.on("message", (data: Buffer) => {
      received += data.length;
      if (received === total) resolve();
    });
  });
  near.resume();
  await Promise.all([sent, all]);
});

acceptance("a hundred WebSockets at once echo, each its own", async ({ tunnel }) => {
  const webSockets = new WebSockets(tunnel);
  webSockets.onSocket = echo;
  await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const near = webSockets.visit();
      await once(near, "open");
      for (let round = 0; round < 5; round++) {
        const sent = Buffer.alloc(1000 * round + i, `${i}.${round}`);
        near.send(sent);
        expect((await message(near)).data.equals(sent)).toBe(true);
      }
      const closed = closing(near);
      near.close(1000, String(i));
      expect(await closed).toEqual({ code: 1000, reason: String(i) });
    }),
  );
});
