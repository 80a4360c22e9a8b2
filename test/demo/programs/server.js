// Stands in for tunnel-server: says that it listens where it was told to, and stops when told to.
import { existsSync, mkdirSync } from "node:fs";

const log = (message, fields) => {
  console.log(JSON.stringify({ time: new Date().toISOString(), level: "info", ...fields, message }));
};

const options = Object.fromEntries(
  process.argv
    .slice(2)
    .filter((argument) => argument.startsWith("--"))
    .map((argument) => argument.slice(2).split("=")),
);

if (process.argv[2] === "key") {
  const dataDir = process.argv[process.argv.indexOf("--data-dir") + 1];
  if (!existsSync(dataDir)) process.exit(1);
  console.log(JSON.stringify({ key: "culvert_fake" }));
} else {
  mkdirSync(options["data-dir"], { recursive: true });
  log("starting", options);
  const alive = setInterval(() => undefined, 1000);
  process.on("SIGTERM", () => {
    log("stopped");
    clearInterval(alive);
  });
  log("listening", { http: "127.0.0.1:18080", grpc: "127.0.0.1:17000" });
}
