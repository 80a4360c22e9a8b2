// Stands in for a program that comes up and then breaks.
console.log(JSON.stringify({ time: new Date().toISOString(), level: "info", message: "online" }));
console.error("a last word\u001b[31m");
process.exitCode = 7;
