/** What the local service could take for the visitor's word about who the visitor is, whatever spells it. */
export function aboutTheVisitor(fields: string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase().replaceAll("_", "-");
    if (/^(?:http-)?(?:x-forwarded|forwarded|x-real-ip)/.test(name))
      lines.push(`${fields[i]}: ${fields[i + 1]}`);
  }
  return lines;
}
