import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { UnreadBudget } from "../../../../link/unread-budget.ts";
import { limitOptions } from "../../../../server/config/limits.ts";
import { TcpEdge } from "../../../../server/edge/tcp/tcp-edge.ts";
import { descriptorsForAll } from "../../../support/descriptors.ts";
import { recordingLog } from "../../../support/recording-log.ts";

test("a port that opens while the edge stops is closed again", async () => {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");

  const edge = new TcpEdge({
    host: "127.0.0.1",
    findRoute: () => undefined,
    log: recordingLog().log,
    trustedProxies: [],
    unread: new UnreadBudget(),
    descriptors: descriptorsForAll(),
    holdMs: 0,
    limits: limitOptions.parse({}),
  });
  const opening = edge.open(port);
  await edge.stop(0);
  await expect(opening).rejects.toThrow("the server is stopping");
  const again = createServer().listen(port, "127.0.0.1");
  await once(again, "listening");
  again.close();
});
