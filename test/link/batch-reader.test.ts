import { describe, expect, test } from "vitest";
import { BatchReader } from "../../link/batch-reader.ts";
import { writeBatch } from "../../link/batch-writer.ts";
import { linkService } from "../../link/contract.ts";
import type { Control } from "../../link/messages.ts";

const PING: Control = { message: "ping", ping: { id: 7 } };
const CONTROL = "0a04 3202 0807";
const MIB = 1024 * 1024;

describe("a message", () => {
  test("is told as its control messages, its data and its end", () => {
    const [message] = writeBatch({ control: [PING], data: [Buffer.from("abc"), Buffer.from("de")] });
    expect(read(message!)).toEqual([[PING], "abcde", "end"]);
  });

  test("may hold 16 messages about the session, and 65,536 in all", () => {
    const drain: Control = { message: "drain", drain: { graceMs: 0 } };
    const ping: Control = { message: "ping", ping: { id: 0 } };
    const heard = read(message("0a022a00".repeat(16) + "0a023200".repeat(65_520)));
    expect(heard.pop()).toBe("end");
    expect(heard.flat()).toEqual(Array.from({ length: 65_536 }, (_, i) => (i < 16 ? drain : ping)));
  });

  test("may tell of many visitors that have left", () => {
    const left = Array.from({ length: 3_000 }, (_, i): Control => {
      return { message: "visitorLeft", visitorLeft: { visitorConnection: i } };
    });
    const [message] = writeBatch({ control: left, data: [] });
    expect(read(message!).flat()).toEqual([...left, "end"]);
    expect(linkService.Connect.requestDeserialize(message!.subarray(5)).control).toEqual(left);
  });

  test("without content is an end alone", () => {
    expect(read(message(""))).toEqual(["end"]);
  });

  test("may hold more control than one buffer", () => {
    const resets = Array.from({ length: 3_000 }, (_, i): Control => {
      return {
        message: "reset",
        reset: { stream: i, code: "TIMEOUT", detail: "no answer, ".repeat(i % 90) },
      };
    });
    const heard = read(writeBatch({ control: resets, data: [] })[0]!);
    expect(heard.pop()).toBe("end");
    expect(heard.flat()).toEqual(resets);
  });

  test("hands its data on before it is whole", () => {
    const [head, ...slices] = writeBatch({ control: [PING], data: [Buffer.alloc(MIB, "x")] });
    const heard = reader();
    heard.push(head!);
    expect(heard.events).toEqual([[PING]]);
    heard.push(slices[0]!.subarray(0, 3));
    expect(heard.events).toEqual([[PING], "xxx"]);
  });

  test("of a later version may hold fields that this one does not know", () => {
    const later = "1a03616263";
    expect(read(message(later + CONTROL + later + "120178" + later))).toEqual([[PING], "x", "end"]);
  });

  test("is read no further once what it said has ended the link", () => {
    let over = false;
    const events: unknown[] = [];
    const reader = new BatchReader(
      {
        control: (messages) => {
          events.push(messages.length);
          over = true;
        },
        data: () => events.push("data"),
        batchEnd: () => events.push("end"),
      },
      { isOver: () => over },
    );
    reader.push(message(CONTROL.repeat(1000) + "120178"));
    expect(events).toEqual([64]);
  });
});

describe("refused as a breach of the contract is", () => {
  test.each([
    ["a compressed message", "01 00000002 1200"],
    ["a message of more than 4 MiB", "00 00400001"],
    ["data that is longer than its message", framed("120261")],
    ["control that is longer than its message", framed("0a053202")],
    ["control behind data", framed(`120161 ${CONTROL}`)],
    ["data twice", framed("120161 120162")],
    ["a field of another form", framed("08 01")],
    ["a length without an end", framed("0affffffff7f")],
    ["control without content", framed("0a00")],
    ["two messages in one control", framed("0a08 32020807 32020807")],
    ["a number where there should be a message", framed("0a023007")],
    ["a stream id of 40 bits", framed("0a09 5a07 08ffffffffff01")],
    ["a head beyond its message", framed("0a06 4a04 12056162")],
    ["17 messages about the session", framed(`${CONTROL} 0a022a00`.repeat(17))],
    ["65,537 control messages", framed("0a023200".repeat(65_537))],
  ])("%s", (_, hex) => {
    const bytes = unhex(hex);
    expect(() => read(bytes)).toThrow(expect.objectContaining({ code: "protocol" }));
  });
});

describe("of a stranger", () => {
  const HELLO = "0a02 0a00";
  const OPEN = "0a04 4202 0802";
  const MAX_BYTES = 100;

  test.each([
    [HELLO, 1],
    [HELLO, 2],
    [HELLO, 5],
    [HELLO, 100],
    // As proto-loader writes that there is no data.
    [`${HELLO} 1200`, 100],
  ])("one Hello is read: %s in slices of %i bytes", (hex, sliceBytes) => {
    const bytes = message(hex);
    const { events, push } = reader(MAX_BYTES);
    for (let at = 0; at < bytes.length; at += sliceBytes) push(bytes.subarray(at, at + sliceBytes));
    expect(events).toMatchObject([[{ message: "hello" }], "end"]);
  });

  test.each<[string, Buffer]>([
    ["an Open", message(OPEN)],
    ["a Drain", message("0a022a00")],
    ["a Ping behind its Hello", message(`${HELLO} ${CONTROL}`)],
    ["a second Hello", message(HELLO.repeat(2))],
    ["a second message", Buffer.concat([message(HELLO), message(HELLO)])],
    ["a second message that is empty", Buffer.concat([message(HELLO), message("")])],
    ["data", message("120178")],
    ["data behind its Hello", message(`${HELLO} 120178`)],
    ["a Hello that is too long", message(`0a67 0a65 ${"7a00".repeat(50)} 00`)],
  ])("%s is refused", (_, bytes) => {
    const heard = reader(MAX_BYTES);
    expect(() => heard.push(bytes)).toThrow(expect.objectContaining({ code: "protocol" }));
    expect(heard.events.flat().filter((event) => event !== "end").length).toBeLessThanOrEqual(1);
  });

  test("whatever is no Hello is refused before it is here whole", () => {
    const { push } = reader(MAX_BYTES);
    expect(() => push(message(OPEN).subarray(0, 8))).toThrow(expect.objectContaining({ code: "protocol" }));
  });

  test("a message is refused without its prefix too", () => {
    const { events, pushMessage } = reader(MAX_BYTES);
    pushMessage(unhex(HELLO));
    expect(events.pop()).toBe("end");
    expect(() => pushMessage(unhex(HELLO))).toThrow(expect.objectContaining({ code: "protocol" }));
  });

  test.each<[string, Buffer]>([
    ["27,000 Opens", message(OPEN.repeat(27_000))],
    ["64,000 empty wants", message(`0a84e807 0a80e807 ${"4200".repeat(64_000)}`)],
  ])("a first message of %s costs next to nothing", (_, bytes) => {
    const before = process.cpuUsage();
    for (let round = 0; round < 60; round++) {
      const heard = reader(256 * 1024);
      expect(() => heard.push(bytes)).toThrow(expect.objectContaining({ code: "protocol" }));
      expect(heard.events).toEqual([]);
    }
    const { user, system } = process.cpuUsage(before);
    // As objects they took some 30 and 80.
    expect((user + system) / 60 / 1_000).toBeLessThan(5);
  });

  test("that is known by then everything is read", () => {
    const heard = reader(MAX_BYTES);
    heard.push(message(HELLO));
    heard.trust();
    heard.push(message(`${CONTROL} ${CONTROL} 1201 78`));
    heard.push(message(`12 80 02 ${"78".repeat(256)}`));
    expect(heard.events.slice(2)).toEqual([[PING, PING], "x", "end", "x".repeat(256), "end"]);
  });
});

test("a message about the session is handed on before the next one is built", () => {
  expect(read(message("0a022a00".repeat(2) + CONTROL)).map((event) => (event as unknown[]).length)).toEqual([
    1, 1, 1, 3,
  ]);
});

function framed(hex: string): string {
  return `00${unhex(hex).length.toString(16).padStart(8, "0")}${hex}`;
}

/** Blanks are for who reads it. */
function unhex(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(" ", ""), "hex");
}

function message(hex: string): Buffer {
  return unhex(framed(hex));
}

function read(bytes: Buffer): unknown[] {
  const heard = reader();
  heard.push(bytes);
  return heard.events;
}

function reader(helloBytes?: number) {
  const events: unknown[] = [];
  const reader = new BatchReader(
    {
      control: (messages) => events.push(messages),
      data: (slice) => events.push(slice.toString()),
      batchEnd: () => events.push("end"),
    },
    { isOver: () => false, helloBytes },
  );
  return {
    events,
    push: (bytes: Buffer) => reader.push(bytes),
    pushMessage: (bytes: Buffer) => reader.pushMessage(bytes),
    trust: () => reader.trust(),
  };
}
