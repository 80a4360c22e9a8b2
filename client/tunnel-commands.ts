import { Option, type Command } from "commander";
import { parseTcpTarget, parseTlsTarget, parseUdpTarget, type TargetRange } from "../link/byte-target.ts";
import { parsePortRange } from "../link/port-range.ts";
import { parseTarget, type Target } from "../link/target.ts";
import { parsedBy } from "../runtime/command-line.ts";
import type { ClientFlags } from "./settings.ts";
import { PROXY_PROTOCOLS } from "./tunnel-options.ts";
import type { TypedTarget } from "./typed-tunnel.ts";

/** A command for each kind of tunnel, with the options of its kind. */
export function addTunnelCommands(program: Command, run: (flags: ClientFlags) => Promise<void>): Command[] {
  const runTyped = (command: Command, typed: TypedTarget): Promise<void> =>
    run({ ...command.optsWithGlobals<ClientFlags>(), typed });

  const http = program
    .command("http")
    .description("ask for a tunnel to a local web service")
    .argument(
      "<target>",
      "PORT on this machine, HOST:PORT, https://HOST[:PORT], or unix:/PATH",
      parsedBy(parseTarget),
    )
    .action((target: Target, _flags, command: Command) => runTyped(command, { kind: "HTTP", target }));
  const tcp = program
    .command("tcp")
    .description("ask for a public port to a local service of any kind: SSH, a database")
    .argument(
      "<target>",
      "PORT on this machine, HOST:PORT, ports such as 6000-6010, or unix:/PATH",
      parsedBy(parseTcpTarget),
    )
    .action((target: TargetRange, _flags, command: Command) => runTyped(command, { kind: "TCP", target }));
  const udp = program
    .command("udp")
    .description("ask for a public port to a local service over UDP: DNS, games")
    .argument(
      "<target>",
      "PORT on this machine, HOST:PORT, or ports such as 6000-6010",
      parsedBy(parseUdpTarget),
    )
    .action((target: TargetRange, _flags, command: Command) => runTyped(command, { kind: "UDP", target }));
  const tls = program
    .command("tls")
    .description("ask for a hostname to a local service that speaks TLS, which nobody between decrypts")
    .argument("<target>", "PORT on this machine, HOST:PORT, or unix:/PATH", parsedBy(parseTlsTarget))
    .action((target: Target, _flags, command: Command) => runTyped(command, { kind: "TLS", target }));

  for (const command of [http, tls]) {
    command
      .option(
        "--subdomain <NAME>",
        "a name under the server's domain; otherwise a generated one that stays the same",
      )
      .option(
        "--hostname <HOST>",
        'a whole hostname that the key may use, or "*" for whatever no other name takes',
      );
  }
  for (const command of [tcp, udp]) {
    command.option(
      "--port <PORT>",
      "the public port, or several such as 6000-6010; otherwise a free one that stays the same",
      parsedBy(parsePortRange),
    );
  }
  for (const command of [tcp, tls]) {
    command.addOption(
      new Option(
        "--proxy-protocol <VERSION>",
        "tell the service who visits, by a PROXY header ahead of the bytes",
      ).choices(Object.keys(PROXY_PROTOCOLS)),
    );
  }
  for (const command of [http, tcp, udp, tls]) {
    command.option("--name <NAME>", "what the tunnel is called in logs");
  }
  http
    .option("--host-header <NAME>", 'what the service gets as Host; "target" for the target\'s own')
    .option("--timeout-ms <N>", "how long the service may take to begin its answer")
    .option("--insecure-target", "an https:// target may have any certificate")
    .option("--target-ca <FILE>", "PEM certificates to trust, for an https:// target")
    .option(
      "--target-server-name <NAME>",
      'the name to ask an https:// target for, and its certificate must have; "visitor" for the one that the visitor asks for',
    );
  return [http, tcp, udp, tls];
}
