/** How an `https://` target is checked: the options of both ends' config files. */
import path from "node:path";
import { readCertificates } from "../runtime/certificates.ts";
import type { TargetTls } from "./messages.ts";
import type { Target } from "./target.ts";

const TLS_OPTIONS = ["insecure_target", "target_ca", "target_server_name"] as const;
type TlsOption = (typeof TLS_OPTIONS)[number];

/** As `target_server_name`: the name that the visitor asked for. */
const VISITOR = "visitor";

/** Of any type, where the file has other mistakes. */
export type TargetTlsOptions = Readonly<Partial<Record<TlsOption, unknown>>>;

export interface ReadTargetTls {
  targetTls?: TargetTls;
  problems: { option: TlsOption; message: string }[];
}

/**
 * Puts together how an `https://` target is checked.
 *
 * @param target undefined if it could not be read
 * @param directory what a relative path starts from
 */
export function readTargetTls(
  target: Target | undefined,
  options: TargetTlsOptions,
  directory: string,
): ReadTargetTls {
  const { insecure_target: insecure, target_ca: ca, target_server_name: serverName } = options;
  const given = TLS_OPTIONS.filter((name) => options[name] !== undefined);
  const problems: ReadTargetTls["problems"] = [];
  for (const name of given) {
    if (target && !("tls" in target)) {
      problems.push({
        option: name,
        message: "means nothing for this target: it is for those that begin with https://",
      });
    } else if (insecure === true && name === "target_ca") {
      problems.push({
        option: name,
        message: "means nothing for an insecure target, which may have any certificate",
      });
    }
  }
  const read =
    typeof ca !== "string" || insecure === true ? { pem: "" } : readCertificates(path.resolve(directory, ca));
  if (typeof read === "string") {
    problems.push({ option: "target_ca", message: read });
    return { problems };
  }
  if (given.length === 0) return { problems };
  const name = typeof serverName === "string" && serverName !== VISITOR ? serverName : "";
  const targetTls = { insecure: insecure === true, ca: read.pem, serverName: name };
  return {
    targetTls: serverName === VISITOR ? { ...targetTls, serverNameOfVisitor: true } : targetTls,
    problems,
  };
}
