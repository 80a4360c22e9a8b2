import { expect, test } from "vitest";
import { linkPair, openStream } from "../support/link-pair.ts";

const KIB = 1024;

test("COMPLETE comes behind the whole answer, while the request is still unfinished", async () => {
  const { near, far, nearHandler } = await openStream(linkPair());
  const answer = Buffer.alloc(2_000 * KIB, "a");
  near.write(Buffer.from("the beginning of a request"));
  far.write(answer);
  far.end();
  far.reset("COMPLETE");
  await nearHandler.until(({ failure }) => failure !== undefined);
  expect(nearHandler.receivedBytes).toBe(answer.length);
  expect(nearHandler.events).toEqual(["accepted yes", "data", "end", "reset COMPLETE"]);
});

test("any other reset overtakes what is queued, and an end behind it", async () => {
  const { far, nearHandler } = await openStream(linkPair());
  far.write(Buffer.alloc(2_000 * KIB));
  far.end();
  far.reset("CONNECTION_LOST");
  await nearHandler.until(({ failure }) => failure !== undefined);
  expect(nearHandler.ended).toBe(false);
});
