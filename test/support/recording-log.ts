import { createLog, type Log } from "../../runtime/log.ts";

export interface RecordedLine {
  level: string;
  message: string;
  [field: string]: unknown;
}

/** A log whose lines can be looked at. */
export function recordingLog(): { log: Log; lines: RecordedLine[] } {
  const lines: RecordedLine[] = [];
  const destination = { write: (line: string) => lines.push(JSON.parse(line) as RecordedLine) };
  return { log: createLog({ format: "json", level: "debug", destination }), lines };
}
