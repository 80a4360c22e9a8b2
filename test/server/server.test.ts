import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadServerConfig } from "../../server/config/config.ts";
import { startServer } from "../../server/server.ts";
import { KeyFileError } from "../../server/store/key-file.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { recordingLog } from "../support/world.ts";

test("a server whose keys.json is damaged does not start: it would turn every client away for good", async () => {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "keys.json"), '{"version":1,"keys":[{');
  const { config } = loadServerConfig(undefined, {}, { dataDir: directory });
  config.http.listen = { host: "127.0.0.1", port: 0 };
  config.grpc.listen = { host: "127.0.0.1", port: 0 };
  await expect(startServer(config, recordingLog().log)).rejects.toThrow(KeyFileError);
});
