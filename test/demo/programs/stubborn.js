// Does not go when it is told to.
process.on("SIGTERM", () => console.log("no"));
setInterval(() => undefined, 1000);
console.log(JSON.stringify({ time: new Date().toISOString(), level: "info", message: "up" }));
