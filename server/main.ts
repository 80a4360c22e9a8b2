#!/usr/bin/env node
import { Option, type Command } from "commander";
import { keepBufferBlocksSmall } from "../runtime/buffer-pool.ts";
import { newProgram, parsedBy, runProgram, runWithLog } from "../runtime/command-line.ts";
import { letHeapGrow } from "../runtime/heap-growth.ts";
import type { Log } from "../runtime/log.ts";
import { formatAddress, parseListenAddress, type ListenAddress } from "../runtime/net-address.ts";
import { onShutdownSignals } from "../runtime/shutdown.ts";
import { VERSION } from "../runtime/version.ts";
import { checkCommand } from "./commands/check.ts";
import { addKeyCommands } from "./commands/key-commands.ts";
import { loadServerConfig } from "./config/config.ts";
import { startServer } from "./server.ts";

/** How long open requests may take to finish once the server is told to stop. */
const GRACE_MS = 30_000;

interface RunOptions {
  config?: string;
  dataDir?: string;
  httpListen?: ListenAddress;
  grpcListen?: ListenAddress;
  logFormat?: "json" | "pretty";
}

const program = newProgram(
  "tunnel-server",
  "Brings services behind NAT to the public internet: visitors come to the HTTP port, tunnel-client to the gRPC port.",
)
  .option(
    "--config <FILE>",
    "settings and keys; without it the defaults: HTTP on :8080, gRPC on :7000, domain localhost",
  )
  .option("--data-dir <DIR>", "where the certificate and keys.json live")
  .option(
    "--http-listen <ADDR>",
    "address for visitors, such as :80 or 127.0.0.1:0",
    parsedBy(parseListenAddress),
  )
  .option("--grpc-listen <ADDR>", "address for clients, such as :7000", parsedBy(parseListenAddress))
  .addOption(logFormatOption())
  .action(run);
addCheckCommand(program);
addKeyCommands(program);
await runProgram(program);

function run(options: RunOptions): Promise<void> {
  return runWithLog(options.logFormat, (log) => serve(options, log));
}

async function serve(options: RunOptions, log: Log): Promise<void> {
  letHeapGrow();
  keepBufferBlocksSmall();
  const { config, warnings } = loadServerConfig(options.config, process.env, { dataDir: options.dataDir });
  if (options.httpListen) config.http.listen = options.httpListen;
  if (options.grpcListen) config.grpc.listen = options.grpcListen;
  for (const warning of warnings) log.warn(warning);

  const server = await startServer(config, log);
  log.info(
    {
      version: VERSION,
      http: formatAddress({ ...config.http.listen, port: server.httpPort }),
      ...(config.tls && { tls: formatAddress({ ...config.tls.listen, port: server.tlsPort! }) }),
      grpc: formatAddress({ ...config.grpc.listen, port: server.grpcPort }),
      domain: config.http.domain,
      dataDir: config.dataDir,
    },
    "listening",
  );
  await stopSignal(log);
  await server.stop(GRACE_MS);
  log.info("stopped");
  process.exit(0);
}

/** Resolves at the first signal; a second one ends the process at once. */
function stopSignal(log: Log): Promise<void> {
  return new Promise((resolve) => {
    onShutdownSignals({
      first(signal) {
        log.info(
          { signal, graceMs: GRACE_MS },
          "stopping; open requests may finish, a second signal ends at once",
        );
        resolve();
      },
      second() {
        log.warn("ended at once");
        process.exit(0);
      },
    });
  });
}

function logFormatOption(): Option {
  return new Option("--log-format <FORMAT>", "pretty on a terminal and JSON otherwise, unless told").choices([
    "json",
    "pretty",
  ]);
}

function addCheckCommand(parent: Command): void {
  parent
    .command("check")
    .description("list every mistake of a config file")
    .requiredOption("--config <FILE>", "the file")
    .action(({ config }: { config: string }) => process.exit(checkCommand(config, process.stdout)));
}
