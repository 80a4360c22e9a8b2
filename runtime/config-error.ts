/** One thing that is wrong in a config file. */
export interface ConfigProblem {
  /** From 1; 0, as the column, where the problem has no place in the file. */
  line: number;
  column: number;
  /** The option, such as `keys[0].name`; empty for the file as a whole. */
  path: string;
  message: string;
}

/** Everything that is wrong in a config file, in its order. The message has one line for each problem. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly file: string;
  readonly problems: readonly ConfigProblem[];

  constructor(file: string, problems: readonly ConfigProblem[], options?: ErrorOptions) {
    super(problems.map((problem) => problemLine(file, problem)).join("\n"), options);
    this.file = file;
    this.problems = problems;
  }
}

/** `config.yaml:12:7  http.prot: unknown option. Did you mean "port"?` */
function problemLine(file: string, { line, column, path, message }: ConfigProblem): string {
  const place = line > 0 ? `${file}:${line}:${column}  ` : `${file}: `;
  return path === "" ? `${place}${message}` : `${place}${path}: ${message}`;
}
