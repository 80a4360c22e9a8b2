import { createHash } from "node:crypto";
import { Client, type ClientDuplexStream, credentials, status, type StatusObject } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { linkService } from "../../link/contract.ts";
import type { LinkStream } from "../../link/stream.ts";
import { type GrpcLinks, type GrpcLinksOptions, grpcLinks } from "../support/grpc-links.ts";
import { Random } from "../support/random.ts";
import { RecordingHandler } from "../support/recording-handler.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const TOTAL_BYTES = 64 * MIB;
const BLOCK = new Random(3).bytes(MIB);

const both = { server: true, client: true };
const neither = { server: false, client: false };

describe.each<[string, GrpcLinksOptions]>([
  ["with TLS", { tls: true, direct: both }],
  ["without TLS", { tls: false, direct: both }],
  ["by grpc-js alone, with TLS", { tls: true, direct: neither }],
  ["by grpc-js alone, without TLS", { tls: false, direct: neither }],
  ["by grpc-js alone on the server", { tls: true, direct: { server: false, client: true } }],
  ["by grpc-js alone on the client", { tls: true, direct: { server: true, client: false } }],
])("a link over gRPC %s", (_, options) => {
  test("keeps heads, bytes and ends in order, whatever their sizes", async () => {
    await using links = await grpcLinks(options);
    links.client.onOpened = (stream, open) => {
      stream.accept(open.head);
      const heard = RecordingHandler.on(stream);
      heard.onEvent = (event) => {
        if (event === "data") stream.write(heard.chunks.at(-1)!);
        if (event === "end") stream.end();
      };
    };
    const random = new Random(5);
    await Promise.all(
      Array.from({ length: 100 }, async () => {
        const { stream, handler } = links.server.open({ hash: true });
        const hash = createHash("sha256");
        for (let i = random.below(8); i > 0; i--) {
          const bytes = random.bytes(random.pick([0, 1, 100, 5_000, 70_000]));
          hash.update(bytes);
          stream.write(bytes);
        }
        stream.end();
        await handler.until(({ ended }) => ended);
        expect(handler.events).toContain("accepted head");
        expect(handler.sha256()).toBe(hash.digest("hex"));
      }),
    );
    expect(links.server.link.streams).toBe(0);
  });

  test("carries 64 MiB each way at once", async () => {
    await using links = await grpcLinks(options);
    const far = await accepted(links);
    pump(far.nearStream, far.near);
    pump(far.farStream, far.far);
    await Promise.all([far.near.until(({ ended }) => ended), far.far.until(({ ended }) => ended)]);
    const expected = createHash("sha256");
    for (let sent = 0; sent < TOTAL_BYTES; sent += MIB) expected.update(BLOCK);
    const digest = expected.digest("hex");
    expect([far.near.sha256(), far.far.sha256()]).toEqual([digest, digest]);
  });

  test("a stream that nobody reads leaves the others their way", async () => {
    await using links = await grpcLinks(options);
    const stalled = await accepted(links, { consume: false });
    pump(stalled.nearStream, stalled.near);
    const other = await accepted(links);
    pump(other.nearStream, other.near);
    await other.far.until(({ ended }) => ended);
    expect(other.far.receivedBytes).toBe(TOTAL_BYTES);
    expect(stalled.far.receivedBytes).toBeLessThan(MIB);
  });

  test("a reset reaches the other end at once, with its reason, and no other stream", async () => {
    await using links = await grpcLinks(options);
    const first = await accepted(links);
    const second = await accepted(links);
    const kept = await accepted(links);
    first.nearStream.reset("CANCELLED", "enough");
    second.farStream.reset("REFUSED", "nobody home");
    await first.far.until(({ failure }) => failure !== undefined);
    await second.near.until(({ failure }) => failure !== undefined);
    expect(first.far).toMatchObject({ failure: "CANCELLED", detail: "enough" });
    expect(second.near).toMatchObject({ failure: "REFUSED", detail: "nobody home" });
    kept.nearStream.write(Buffer.from("still here"));
    await kept.far.until(({ receivedBytes }) => receivedBytes === 10);
  });

  test.each([
    ["server", "client"],
    ["client", "server"],
  ] as const)("that the %s ends, ends clean behind everything that was said", async (ending, other) => {
    await using links = await grpcLinks(options);
    links[ending].link.say({ message: "drain", drain: { graceMs: 42 } });
    links[ending].link.end();
    expect(await links[other].ended()).toBeUndefined();
    expect(links[other].messages.at(-1)).toEqual({ message: "drain", drain: { graceMs: 42 } });
    expect(await links[ending].ended()).toBeUndefined();
  });

  test("that the server cuts, fails with its streams at both ends", async () => {
    await using links = await grpcLinks(options);
    const { near, far } = await accepted(links);
    links.server.link.close();
    expect(await links.client.ended()).toBe("lost");
    expect([near.failure, far.failure]).toEqual(["LINK_LOST", "LINK_LOST"]);
  });

  test("that the client cuts, is over with its streams at both ends", async () => {
    await using links = await grpcLinks(options);
    const { near, far } = await accepted(links);
    links.client.link.close();
    await links.server.ended();
    expect([near.failure, far.failure]).toEqual(["LINK_LOST", "LINK_LOST"]);
  });

  test("both ends notice when the network between them breaks, and their streams fail", async () => {
    await using links = await grpcLinks(options);
    const { near, far } = await accepted(links);
    links.relay.cut();
    expect(await Promise.all([links.server.ended(), links.client.ended()])).toEqual(["lost", "lost"]);
    expect([near.failure, far.failure]).toEqual(["LINK_LOST", "LINK_LOST"]);
  });

  test("a link is cut at once while the other end reads nothing", async () => {
    await using links = await grpcLinks(options);
    const { nearStream, near } = await accepted(links);
    links.relay.mode = "hold";
    pump(nearStream, near);
    links.server.link.close();
    expect(await links.server.ended()).toBeUndefined();
    links.relay.cut();
    expect(await links.client.ended()).toBe("lost");
  });
});

test("both ends write more than the system takes, and read each other all the same", async () => {
  await using links = await grpcLinks({ tls: true });
  const exchanges: Exchange[] = [];
  for (let i = 0; i < 16; i++) exchanges.push(await accepted(links));
  for (const { nearStream, near, farStream, far } of exchanges) {
    pump(nearStream, near, 16 * MIB);
    pump(farStream, far, 16 * MIB);
  }
  for (const handler of exchanges.flatMap(({ near, far }) => [near, far])) {
    await handler.until(({ ended }) => ended);
    expect(handler.receivedBytes).toBe(16 * MIB);
  }
});

// What direct-carrier.ts reaches for is private to grpc-js: when this fails behind an update, it has to find another way.
test.each([
  ["with TLS", true],
  ["without TLS", false],
])("both ends find the HTTP/2 stream beneath their call, %s", async (_, tls) => {
  await using links = await grpcLinks({ tls });
  expect(links.direct).toEqual(both);
});

describe("a message that gRPC cannot take ends the call that it came on, and no other", () => {
  const tooLong = Buffer.alloc(5 * MIB);
  const noBatch = Buffer.from("0b0c0d", "hex");
  test.each([
    ["beyond 4 MiB", tooLong, both, status.INTERNAL, "protocol"],
    ["that is no batch", noBatch, both, status.INTERNAL, "protocol"],
    ["that is no batch, by grpc-js alone", noBatch, neither, status.INTERNAL, "protocol"],
    // grpc-js answers by itself, and does not tell why.
    ["beyond 4 MiB, by grpc-js alone", tooLong, neither, status.RESOURCE_EXHAUSTED, "lost"],
  ])("one %s, to the server", async (_, message, direct, code, reason) => {
    await using links = await grpcLinks({ direct });
    const arrived = links.nextServerEnd();
    using raw = new RawBytesClient(links.port);
    raw.call.write(message);
    expect((await raw.over).code).toBe(code);
    expect(await (await arrived).ended()).toBe(reason);
    await expectAlive(links);
  });

  test.each([
    ["", both],
    [", by grpc-js alone", neither],
  ])("one beyond 4 MiB, to the client%s", async (_, direct) => {
    await using links = await grpcLinks({ direct });
    links.server.carrier!.send({ control: [], data: [tooLong] }, () => {});
    expect(await links.client.ended()).toBe("protocol");
  });
});

/** Calls the server with messages that are not even batches. */
class RawBytesClient implements Disposable {
  readonly call: ClientDuplexStream<Buffer, Buffer>;
  readonly over: Promise<StatusObject>;
  readonly #client: Client;

  constructor(port: number) {
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
    });
    this.call = this.#client.makeBidiStreamRequest(linkService.Connect.path, asItIs, asItIs);
    this.call.on("error", () => {});
    this.over = new Promise((resolve) => this.call.on("status", resolve));
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

async function expectAlive(links: GrpcLinks): Promise<void> {
  const { nearStream, far } = await accepted(links);
  nearStream.write(Buffer.from("alive"));
  await far.until(({ receivedBytes }) => receivedBytes === 5);
}

function asItIs(bytes: Buffer): Buffer {
  return bytes;
}

interface Exchange {
  nearStream: LinkStream;
  near: RecordingHandler;
  farStream: LinkStream;
  far: RecordingHandler;
}

/** A stream that the server opened and the client has accepted. */
async function accepted(
  { server, client }: GrpcLinks,
  recording: { consume?: boolean } = {},
): Promise<Exchange> {
  const arrived = new Promise<{ farStream: LinkStream; far: RecordingHandler }>((resolve) => {
    client.onOpened = (farStream) => {
      const far = RecordingHandler.on(farStream, { keep: false, hash: true, ...recording });
      farStream.accept(Buffer.from("yes"));
      resolve({ farStream, far });
    };
  });
  const { stream: nearStream, handler: near } = server.open({ keep: false, hash: true });
  await near.until(({ events }) => events.length > 0);
  return { nearStream, near, ...(await arrived) };
}

/** Writes so much at the pace of the stream, and ends it. */
function pump(stream: LinkStream, handler: RecordingHandler, totalBytes = TOTAL_BYTES): void {
  let sentBytes = 0;
  const go = (): void => {
    while (sentBytes < totalBytes) {
      const from = sentBytes % MIB;
      sentBytes += 64 * KIB;
      if (!stream.write(BLOCK.subarray(from, from + 64 * KIB))) return;
    }
    stream.end();
  };
  handler.onEvent = (event) => {
    if (event === "drained") go();
  };
  go();
}
