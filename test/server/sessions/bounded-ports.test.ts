import { expect, test } from "vitest";
import { boundedPorts } from "../../../server/sessions/bounded-ports.ts";
import { descriptorsForAll } from "../../support/descriptors.ts";
import { FakePorts } from "../../support/naming-rules.ts";

test("a port is opened only where there is a descriptor for it, and gives it back when it closes", async () => {
  const ports = new FakePorts();
  const descriptors = descriptorsForAll(2);
  const opener = boundedPorts(descriptors, ports);
  await opener.open("TCP", 1);
  await opener.open("UDP", 1);
  await expect(opener.open("TCP", 2)).rejects.toMatchObject({
    code: "overloaded",
    message: expect.stringContaining("no further port"),
  });
  expect(ports.names).toEqual(["tcp:1", "udp:1"]);
  opener.close("TCP", 1);
  await opener.open("TCP", 2);
  expect(ports.names).toEqual(["tcp:2", "udp:1"]);
});

test("a port that another program has takes no descriptor", async () => {
  const ports = new FakePorts();
  ports.taken.set("tcp:1", "EADDRINUSE");
  const descriptors = descriptorsForAll(1);
  const opener = boundedPorts(descriptors, ports);
  await expect(opener.open("TCP", 1)).rejects.toMatchObject({ code: "EADDRINUSE" });
  expect(descriptors.held).toBe(0);
});
