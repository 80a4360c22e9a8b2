import { z } from "zod";

/**
 * An option that stands in the file as text, or as a number, since `3000` is one to YAML.
 *
 * @param expected what was expected, as in `expected a name such as "home"`, where `parse` gives undefined
 */
export function option<T>(expected: string, parse: (text: string) => T | undefined) {
  return textOption(expected, (text) => parse(text) ?? new Refusal(expected));
}

/** An option read by one of the parsers of net-address.ts, which say themselves what they expected. */
export function addressOption<T extends object>(parse: (text: string) => T | string) {
  const refuse = (text: string): T | Refusal => {
    const parsed = parse(text);
    return typeof parsed === "string" ? new Refusal(parsed) : parsed;
  };
  const refusal = refuse("");
  return textOption(refusal instanceof Refusal ? refusal.expected : "expected an address", refuse);
}

/** A whole number; of `unit`, such as milliseconds, if it has one. */
export function wholeNumber({ unit, min, max = Infinity }: { unit?: string; min: number; max?: number }) {
  const range = max === Infinity ? `from ${min} up` : `from ${min} to ${max}`;
  const expected = `expected a whole number ${unit === undefined ? "" : `of ${unit} `}${range}`;
  return z
    .number({ error: () => expected })
    .refine((value) => Number.isSafeInteger(value) && value >= min && value <= max, { error: expected });
}

class Refusal {
  readonly expected: string;

  constructor(expected: string) {
    this.expected = expected;
  }
}

function textOption<T>(expected: string, parse: (text: string) => T | Refusal) {
  return z.union([z.string(), z.number()], { error: () => expected }).transform((text, context): T => {
    const value = parse(String(text));
    if (!(value instanceof Refusal)) return value;
    context.addIssue({ code: "custom", message: value.expected });
    return z.NEVER;
  });
}
