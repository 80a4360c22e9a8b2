import { createRequire } from "node:module";

// Not an import: the compiler would copy package.json into dist/, whose import map would then hide the real one.
const packageJson = createRequire(import.meta.url)("#package.json") as { version: string };

/** The program's version, such as "1.4.0". */
export const VERSION: string = packageJson.version;
