/** What stands in a config file that may have mistakes anywhere. */

/** Options of any type. */
export type Unchecked = Readonly<Record<string, unknown>>;

/** Takes a problem of the file and where it is: `["keys", 0, "name"]`. */
export type Report = (at: PropertyKey[], message: string) => void;

/** The options that a value holds; none if it is something else. */
export function record(value: unknown): Unchecked {
  return typeof value === "object" && value !== null ? (value as Unchecked) : {};
}

/** The values of a list; none if it is something else. */
export function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
