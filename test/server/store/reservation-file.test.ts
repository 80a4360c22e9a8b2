import { readFile, stat, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import type { Place } from "../../../server/routing/place.ts";
import { ReservationFile, reservationFileIn } from "../../../server/store/reservation-file.ts";
import type { Remembered, Reservation } from "../../../server/store/reservations.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { temporaryDirectory } from "../../support/temporary-directory.ts";

const NOTHING: Remembered = { reservations: [], lastPorts: [] };
const KEY_ID = "00000000000000aa";

async function fileIn(dataDir?: string, maxBytes?: number) {
  const path = reservationFileIn(dataDir ?? (await temporaryDirectory()));
  const { log, lines } = recordingLog();
  return { path, lines, file: new ReservationFile({ file: path, log, maxBytes }) };
}

function reservation(places: Place[], more: Partial<Reservation> = {}): Reservation {
  return { keyId: KEY_ID, clientId: "client", places, ...more };
}

test("what is saved is loaded again", async () => {
  const { file, path, lines } = await fileIn();
  const remembered = {
    reservations: [
      reservation([{ kind: "HTTP", hostname: "shop.example.com" }], { leftAt: 1_700_000_000_123 }),
      reservation(
        [
          { kind: "HTTP", hostname: "*.wild.test" },
          { kind: "HTTP", hostname: "*" },
          { kind: "TLS", hostname: "app.test" },
          { kind: "TCP", port: 2_222, ports: 1 },
          { kind: "UDP", port: 6_000, ports: 11 },
        ],
        { clientId: 'a "client"\n' },
      ),
    ],
    lastPorts: [["identity", 20_005]] as const,
  };
  await file.save(remembered);
  expect(await file.load()).toEqual({ ...remembered, lastPorts: [["identity", 20_005]] });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(lines).toEqual([]);
  await file.save(NOTHING);
  expect(await file.load()).toEqual(NOTHING);
});

test("a server that has never run has nothing, and says nothing", async () => {
  const { file, lines } = await fileIn();
  expect(await file.load()).toEqual(NOTHING);
  expect(lines).toEqual([]);
});

test.each([
  ["half written", '{"version":1,"last_ports":[],"reservations":[\n{"key":"00', /not valid JSON/],
  ["empty", "", /not valid JSON/],
  ["of a newer version", '{"version":2}', /expected form: version/],
  ["of a key that is none", withNames({ key: "../x" }), /reservations\.0\.key/],
  ["of a name that is none", withNames({ names: ["a b"] }), /reservations\.0\.names\.0: expected a hostname/],
  ["of a port that is none", withNames({ names: ["tcp:0"] }), /names\.0/],
  ["of too many ports", withNames({ names: ["tcp:1-65535"] }), /names\.0/],
])("a file that is %s counts as empty, with a warning, and is replaced", async (_how, text, reason) => {
  const { file, path, lines } = await fileIn();
  await writeFile(path, text);
  expect(await file.load()).toEqual(NOTHING);
  expect(lines).toMatchObject([
    {
      level: "warn",
      file: path,
      reason: expect.stringMatching(reason),
      message: expect.stringContaining("reservations.json is not usable"),
    },
  ]);
  await file.save(NOTHING);
  expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({ version: 1 });
});

function withNames(more: object): string {
  const first = { key: KEY_ID, client: "client", names: ["app.test"], ...more };
  return JSON.stringify({ version: 1, last_ports: [], reservations: [first] });
}

test("a file that is too large counts as empty, and none that large is written", async () => {
  const { file, path, lines } = await fileIn(undefined, 2_000);
  const places: Place[] = [{ kind: "HTTP", hostname: "app.test" }];
  await file.save({ reservations: Array<Reservation>(100).fill(reservation(places)), lastPorts: [] });
  const { reservations } = await file.load();
  expect([...reservations].length).toBeGreaterThan(10);
  expect((await stat(path)).size).toBeLessThanOrEqual(2_000);
  expect(lines).toMatchObject([{ message: expect.stringContaining("reservations.json is full") }]);
  await writeFile(path, " ".repeat(2_001));
  expect(await file.load()).toEqual(NOTHING);
});

test("half a million names are written piece by piece, and everyone else has their turns", async () => {
  const { file, path } = await fileIn();
  let inTurn = 0;
  let mostInTurn = 0;
  let isSaving = true;
  const turn = (): void => {
    inTurn = 0;
    if (isSaving) setImmediate(turn);
  };
  function* reservations(): Generator<Reservation> {
    for (let i = 0; i < 2_000; i++) {
      mostInTurn = Math.max(mostInTurn, ++inTurn);
      yield reservation(
        Array.from({ length: 256 }, (_, j): Place => ({
          kind: "HTTP",
          hostname: `name-${j}.client-${i}.example.com`,
        })),
      );
    }
  }
  turn();
  await file.save({ reservations: reservations(), lastPorts: [] });
  isSaving = false;
  // Each has 9 KB, and a piece 64.
  expect(mostInTurn).toBeLessThan(20);
  expect((await stat(path)).size).toBeGreaterThan(15_000_000);
});
