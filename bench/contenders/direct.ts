import type { ContenderKind } from "../contender.ts";

/** Visitors at the local service itself: what the machine and the load can do. */
export const direct: ContenderKind = {
  name: "direct",
  title: "direct",
  async start({ backend, road }) {
    const entrance = { ...(await road.toClient(backend.port)), hostname: "bench.localhost" };
    return { kind: direct, entrance, async [Symbol.asyncDispose]() {} };
  },
};
