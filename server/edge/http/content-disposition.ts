import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { RawFields } from "../../../link/http-head.ts";

/**
 * Since 18.15 node takes a Content-Disposition that follows a Content-Length for the bytes of UTF-8 text and decodes
 * it, so that bytes beyond ASCII change or make `writeHead` throw. Such a value is given to it encoded once more.
 * Returns its argument where there is nothing to do.
 */
export function contentDispositionAsNodeTakesIt(fields: RawFields): RawFields {
  let result = fields;
  let lengthSeen = false;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i]!;
    if (name.length === 14 && name.toLowerCase() === "content-length") {
      lengthSeen = Number(fields[i + 1]) > 0;
    } else if (lengthSeen && name.length === 19 && name.toLowerCase() === "content-disposition") {
      const value = fields[i + 1]!;
      if (!/[\x80-\xff]/.test(value) || !nodeDecodes()) continue;
      if (result === fields) result = [...fields];
      result[i + 1] = Buffer.from(value, "utf8").toString("latin1");
    }
  }
  return result;
}

let decodes: boolean | undefined;

/** Whether this node does it: a byte that is not UTF-8 makes it throw. */
function nodeDecodes(): boolean {
  if (decodes === undefined) {
    try {
      const probe = new ServerResponse(new IncomingMessage(new Socket()));
      probe.writeHead(200, "", ["Content-Length", "1", "Content-Disposition", "\xff"]);
      decodes = false;
    } catch {
      decodes = true;
    }
  }
  return decodes;
}
