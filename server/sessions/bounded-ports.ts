import { TunnelError } from "../../link/errors.ts";
import type { Descriptor, DescriptorParty } from "../../runtime/descriptor-budget.ts";
import { portName } from "../routing/place.ts";
import type { PortOpener } from "./public-ports.ts";

/** Opens so many ports as there are descriptors for. */
export function boundedPorts(descriptors: DescriptorParty, opener: PortOpener): PortOpener {
  const open = new Map<string, Descriptor>();
  return {
    async open(kind, port) {
      const descriptor = descriptors.take();
      if (!descriptor) {
        throw new TunnelError(
          "overloaded",
          `The server can open no further port such as ${kind} ${port}. Its owner can give it more descriptors: LimitNOFILE= or ulimit -n.`,
        );
      }
      try {
        await opener.open(kind, port);
        open.set(portName(kind, port), descriptor);
      } catch (error) {
        descriptor.release();
        throw error;
      }
    },
    close(kind, port) {
      opener.close(kind, port);
      open.get(portName(kind, port))?.release();
      open.delete(portName(kind, port));
    },
  };
}
