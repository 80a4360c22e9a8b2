import { Command, InvalidArgumentError } from "commander";
import { USAGE_EXIT_CODE } from "./command-error.ts";
import { ConfigError } from "./config-error.ts";
import { VERSION } from "./version.ts";

/** A program of this package, with `--help` and `--version`; subcommands have their own options behind their name. */
export function newProgram(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .version(VERSION, "--version", "print the version")
    .helpOption("--help", "print this help")
    .helpCommand(false)
    .enablePositionalOptions()
    .showHelpAfterError(`(${name} --help lists the options)`)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : USAGE_EXIT_CODE));
}

/** Reads the command line and runs what it says; an error ends up as one message and an exit code. */
export async function runProgram(program: Command): Promise<void> {
  try {
    await program.parseAsync();
  } catch (error) {
    process.stderr.write(`${program.name()}: ${messageOf(error)}\n`);
    process.exit(exitCodeOf(error));
  }
}

/** Makes one of runtime/net-address.ts's parsers, which return what was expected as a string, an option's parser. */
export function parsedBy<T extends object>(parse: (text: string) => T | string): (text: string) => T {
  return (text) => {
    const parsed = parse(text);
    if (typeof parsed === "string") throw new InvalidArgumentError(`${parsed}.`);
    return parsed;
  };
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ConfigError) return `the config has mistakes:\n${error.message}`;
  return error.message;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigError) return USAGE_EXIT_CODE;
  if (error instanceof Error && "exitCode" in error && typeof error.exitCode === "number")
    return error.exitCode;
  return 1;
}
