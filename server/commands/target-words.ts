import { formatTargetRange } from "../../link/byte-target.ts";
import { parseTarget } from "../../link/target.ts";

/**
 * The target of a mapped tunnel with all its ports: `127.0.0.1:6000-6010`.
 *
 * @param target of the first, as `formatTarget` writes it
 */
export function targetInWords(target: string, ports = 1): string {
  const first = parseTarget(target);
  return ports === 1 || typeof first === "string" ? target : formatTargetRange({ target: first, ports });
}
