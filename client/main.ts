#!/usr/bin/env node
import { Option } from "commander";
import { keepBufferBlocksSmall } from "../runtime/buffer-pool.ts";
import { newProgram, parsedBy, runProgram, runWithLog } from "../runtime/command-line.ts";
import { letHeapGrow } from "../runtime/heap-growth.ts";
import type { Log } from "../runtime/log.ts";
import { parseServerAddress } from "../runtime/net-address.ts";
import { onShutdownSignals } from "../runtime/shutdown.ts";
import { TunnelClient } from "./client.ts";
import { clientSettings, type ClientFlags } from "./settings.ts";
import { clientId } from "./connection/client-id.ts";
import { addTunnelCommands } from "./tunnel-commands.ts";

/** How long open requests may take to finish once the client is told to stop. */
const GRACE_MS = 30_000;

const program = newProgram(
  "tunnel-client",
  "Serves local services to the visitors of a tunnel-server. With the key alone: the tunnels that the server maps to it.",
).action(run);
for (const command of [program, ...addTunnelCommands(program, run)]) {
  command
    .addOption(
      new Option("--key <KEY>", "the access key; others can see it in ps: --key-file and TUNNEL_KEY hide it"),
    )
    .option("--key-file <FILE>", "a file that holds the access key")
    .option(
      "--server <HOST:PORT>",
      "instead of the address in the key (also TUNNEL_SERVER)",
      parsedBy(parseServerAddress),
    )
    .option("--config <FILE>", "client.yaml: the key, the targets to allow, several tunnels")
    .option(
      "--allow <RULE>",
      "a target that the server may name, besides this machine if only --key is given: CIDR[:PORTS], unix:PATH, any, none; repeatable",
      collect,
    )
    .option("--plaintext", "the server has no TLS")
    .option(
      "--ca <FILE>",
      "PEM certificates to trust, for a server whose certificate is not pinned by the key",
    )
    .option("--server-name <NAME>", "the name that the server's certificate must have")
    .option(
      "--proxy <URL>",
      "an HTTP proxy on the way to the server, or none; otherwise HTTPS_PROXY, ALL_PROXY and NO_PROXY say",
    )
    .option("--data-dir <DIR>", "where the client keeps its id")
    .addOption(
      new Option("--log-format <FORMAT>", "pretty on a terminal and JSON otherwise, unless told").choices([
        "json",
        "pretty",
      ]),
    );
}
await runProgram(program);

function run(flags: ClientFlags): Promise<void> {
  return runWithLog(flags.logFormat, (log) => serve(flags, log));
}

async function serve(flags: ClientFlags, log: Log): Promise<void> {
  letHeapGrow();
  keepBufferBlocksSmall();
  const { settings, dataDir, warnings } = clientSettings(flags, process.env);
  for (const warning of warnings) log.warn(warning);

  const client = new TunnelClient({ ...settings, clientId: await clientId(dataDir, log), log });
  const cut = new AbortController();
  onShutdownSignals({
    first(signal) {
      log.info(
        { signal, graceMs: GRACE_MS },
        "stopping; open requests may finish, a second signal ends at once",
      );
      void client.stop(GRACE_MS);
    },
    second() {
      log.warn("ended at once");
      cut.abort();
      process.exit(0);
    },
  });
  await client.run(cut.signal);
  log.info("stopped");
  process.exit(0);
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}
