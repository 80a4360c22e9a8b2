import type { Command } from "commander";
import { loadServerConfig } from "../config/config.ts";
import { keyCreate, keyGenerate, keyList, keyRevoke, keyShow, type KeyCommandContext } from "./key.ts";

interface ConfigOptions {
  config?: string;
  dataDir?: string;
}

/** Adds `key generate|create|list|show|revoke` to the program. */
export function addKeyCommands(program: Command): void {
  const key = program.command("key").description("make, show and revoke access keys").helpCommand(false);
  key
    .command("generate")
    .description("print a fresh secret as lines for the config file; needs no server")
    .option("--name <NAME>", "what the key is called")
    .action((options: { name?: string }) => keyGenerate(options, { out }));
  withConfig(key.command("create"))
    .description("make a key, and print the client's whole line; running servers take it at once")
    .requiredOption("--name <NAME>", "what the key is called")
    .option("--hostname <HOST>", 'a hostname that the key may use, or "*"; repeatable', collect)
    .option("--port <PORT>", "a public port that the key may use, or several: 6000-6010; repeatable", collect)
    .option(
      "--tunnel <NAME=TARGET[@PLACE]>",
      "a tunnel to map to it: web=127.0.0.1:3000, web=127.0.0.1:3000@app (subdomain) or @app.example.com; ssh=tcp:22@2222, " +
        "ssh=tcp:22 (any free port), game=udp:27015@27015, mail=tls:993@mail.example.com; repeatable",
      collect,
    )
    .option(
      "--public-address <HOST:PORT>",
      "where clients reach the gRPC port; else grpc.public_address, or this machine's",
    )
    .option("--json", "for scripts")
    .action((options: Parameters<typeof keyCreate>[0] & ConfigOptions) =>
      keyCreate(options, contextOf(options)),
    );
  withConfig(key.command("list"))
    .description("list all keys")
    .option("--json", "for scripts")
    .action((options: { json?: boolean } & ConfigOptions) => keyList(options, contextOf(options)));
  withConfig(key.command("show"))
    .description("show one key; for a key of the config the client's whole line too")
    .argument("<name>", "what the key is called")
    .option("--public-address <HOST:PORT>", "as for create")
    .option("--json", "for scripts")
    .action((name: string, options: { publicAddress?: string; json?: boolean } & ConfigOptions) =>
      keyShow({ ...options, name }, contextOf(options)),
    );
  withConfig(key.command("revoke"))
    .description("take a key away; its clients are cut off within a second")
    .argument("<name>", "what the key is called")
    .action((name: string, options: ConfigOptions) => keyRevoke({ name }, contextOf(options)));
}

function withConfig(command: Command): Command {
  return command
    .option("--config <FILE>", "the server's config file")
    .option("--data-dir <DIR>", "the server's data directory");
}

function contextOf({ config: configFile, dataDir }: ConfigOptions): KeyCommandContext {
  return { config: loadServerConfig(configFile, process.env, { dataDir }).config, configFile, out };
}

function out(line: string): void {
  process.stdout.write(`${line}\n`);
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}
