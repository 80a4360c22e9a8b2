import { writeSync } from "node:fs";
import { Command, InvalidArgumentError } from "commander";
import { USAGE_EXIT_CODE } from "./command-error.ts";
import { ConfigError } from "./config-error.ts";
import { createLog, type Log, logFormat, type LogOptions } from "./log.ts";
import { nearest } from "./nearest.ts";
import { VERSION } from "./version.ts";

const MISTAKES = "the config has mistakes";

/** A program of this package, with `--help` and `--version`; subcommands have their own options behind their name. */
export function newProgram(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .version(VERSION, "--version", "print the version")
    .helpOption("--help", "print this help")
    .helpCommand(false)
    .enablePositionalOptions()
    .configureOutput({ outputError: (text, write) => write(withoutSecrets(text)) })
    .showHelpAfterError(`(${name} --help lists the options)`)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : USAGE_EXIT_CODE));
}

/** What commander quotes of a command line may be a key, or a password in a URL, behind an option that is misspelt. */
function withoutSecrets(text: string): string {
  return text
    .replace(/(unknown option '-[^=']*=)[^]*?'/, "$1******'")
    .replace(/culvert_\w+/g, "culvert_******")
    .replace(/\/\/[^/@\s']*@/g, "//******@");
}

/** Reads the command line and runs what it says; an error ends up as one message and an exit code. */
export async function runProgram(program: Command): Promise<void> {
  if (program.commands.length > 0) nameUnknownCommands(program);
  try {
    await program.parseAsync();
  } catch (error) {
    process.stderr.write(`${program.name()}: ${messageOf(error)}\n`);
    process.exit(exitCodeOf(error));
  }
}

/**
 * Runs a program that keeps a log. What ends it stands on standard error as every error does, but as a line of the log where that
 * is JSON, so that whatever reads the log can read its last line too.
 */
export async function runWithLog(
  format: LogOptions["format"],
  work: (log: Log) => Promise<void>,
): Promise<void> {
  const log = createLog({ format });
  try {
    await work(log);
  } catch (error) {
    if (logFormat({ format }) === "pretty") throw error;
    const exitCode = exitCodeOf(error);
    const onStandardError = createLog({ format, destination: { write: (line) => writeSync(2, line) } });
    if (error instanceof ConfigError) {
      onStandardError.error({ exitCode, problems: error.message.split("\n") }, MISTAKES);
    } else {
      onStandardError.error({ exitCode, code: (error as { code?: unknown }).code }, messageOf(error));
    }
    process.exit(exitCode);
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

/** commander calls a word that is no command an argument too many, where a program does something without a command. */
function nameUnknownCommands(program: Command): void {
  const commands = program.commands.map((command) => command.name());
  program.allowExcessArguments().hook("preAction", (_, running) => {
    const [word] = running === program ? program.args : [];
    if (word === undefined) return;
    const guess = nearest(word, commands);
    const hint = guess === undefined ? `Known here: ${commands.join(", ")}` : `Did you mean "${guess}"?`;
    // The word is not shown: it may be a key without its option.
    program.error(`error: unknown command. ${hint}`);
  });
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ConfigError) return `${MISTAKES}:\n${error.message}`;
  return error.message;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigError) return USAGE_EXIT_CODE;
  if (error instanceof Error && "exitCode" in error && typeof error.exitCode === "number")
    return error.exitCode;
  return 1;
}
