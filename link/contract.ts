/** The service of proto/tunnel.proto as grpc-js wants it. */
import { createRequire } from "node:module";
import type * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { withinBatchLimits } from "./batch-limits.ts";
import type { Control } from "./messages.ts";

/** A batch as proto-loader reads and writes it. */
export interface WireBatch {
  control: Control[];
  data: Buffer;
}

export type LinkService = grpc.ServiceDefinition<{
  Connect: grpc.handleBidiStreamingCall<WireBatch, WireBatch>;
}> & { Connect: grpc.MethodDefinition<WireBatch, WireBatch> };

/** The versions of the contract that this program speaks; told in Hello. */
export const PROTOCOL_MIN = 1;
export const PROTOCOL_MAX = 1;

/** The server takes TunnelStates, and the client says them. */
export const TUNNEL_STATES = "tunnel_states";
/** The server takes answers with a status from 600 on. */
export const WIDE_STATUSES = "wide_statuses";
/** What this program can do beyond the first version of the contract; told in Hello and Welcome. */
export const FEATURES: readonly string[] = [TUNNEL_STATES, WIDE_STATUSES];

// `oneofs` names the member that is set in `message`; `defaults` fills in absent fields, so that messages.ts
// holds without a check at each use. Types are checked by protobuf; ranges by whoever uses a field.
export const definition = loadSync(createRequire(import.meta.url).resolve("#proto/tunnel.proto"), {
  defaults: true,
  enums: String,
  longs: Number,
  oneofs: true,
});

const { Connect } = definition["culvert.v1.Link"] as unknown as LinkService;

/** Its readers refuse batches beyond the limits (batch-limits.ts). */
export const linkService: LinkService = {
  Connect: {
    ...Connect,
    requestDeserialize: withinBatchLimits(Connect.requestDeserialize, definition),
    responseDeserialize: withinBatchLimits(Connect.responseDeserialize, definition),
  },
};

export type CarrierService = grpc.ServiceDefinition<{
  Connect: grpc.handleBidiStreamingCall<Buffer, Buffer>;
}> & { Connect: grpc.MethodDefinition<Buffer, Buffer> };

/** As carriers use it, who read and write batches themselves (batch-reader.ts, batch-writer.ts): to grpc-js they are bytes. */
export const carrierService: CarrierService = {
  Connect: {
    ...Connect,
    requestSerialize: asItIs,
    requestDeserialize: asItIs,
    responseSerialize: asItIs,
    responseDeserialize: asItIs,
  },
};

function asItIs(bytes: Buffer): Buffer {
  return bytes;
}
