// Stands in for tunnel-client: online at once, until told to stop.
const log = (message, fields) => {
  console.log(JSON.stringify({ time: new Date().toISOString(), level: "info", ...fields, message }));
};
const alive = setInterval(() => undefined, 1000);
process.on("SIGTERM", () => {
  log("stopped");
  clearInterval(alive);
});
log("online", { arguments: process.argv.slice(2), key: process.env.TUNNEL_KEY });
