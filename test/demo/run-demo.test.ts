import { once } from "node:events";
import { existsSync } from "node:fs";
import net from "node:net";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { ChildProgram } from "../../demo/child-program.ts";
import { runDemo, type DemoOptions } from "../../demo/run-demo.ts";

const program = (name: string): string => fileURLToPath(new URL(`programs/${name}.js`, import.meta.url));

test("the demo says how to visit it, and leaves nothing behind when it is told to stop", async () => {
  const demo = startDemo();
  const announcement = await demo.printed(/through the tunnel/);
  expect(announcement).toContain("http://demo.localhost:18080/\n");
  expect(announcement).toContain("curl -H 'Host: demo.localhost' http://127.0.0.1:18080/\n");
  expect(announcement).toMatch(/tunnel-client http \d+ --subdomain demo --key culvert_fake\n/);
  const directory = demo.dataDirectory();
  expect(existsSync(directory)).toBe(true);

  demo.stop();
  await demo.ended;
  const stopped = demo.lines.filter((line) => line.includes("stopped")).map((line) => line.split(" ")[0]);
  expect(stopped).toEqual(["client", "server"]);
  expect(existsSync(directory)).toBe(false);
});

test("the client gets the key by its environment, which is not in the list of processes", async () => {
  const demo = startDemo();
  const online = await demo.printed(/^client │ .*online/);
  demo.stop();
  await demo.ended;
  expect(online).toContain("key=culvert_fake");
  expect(/arguments=(\S+)/.exec(online)![1]).not.toContain("culvert_");
});

test("ports in use are left alone: the server is told to take free ones, on loopback", async () => {
  await using taken = await listen();
  const demo = startDemo({ preferred: { http: taken.port, grpc: taken.port } });
  const starting = await demo.printed(/^server │ .*starting/);
  demo.stop();
  await demo.ended;
  expect(starting).toContain("http-listen=127.0.0.1:0");
  expect(starting).toContain("grpc-listen=127.0.0.1:0");
});

test("ports that are free are taken", async () => {
  const [http, grpc] = [await freePort(), await freePort()];
  const demo = startDemo({ preferred: { http, grpc } });
  const starting = await demo.printed(/^server │ .*starting/);
  demo.stop();
  await demo.ended;
  expect(starting).toContain(`http-listen=127.0.0.1:${http}`);
  expect(starting).toContain(`grpc-listen=127.0.0.1:${grpc}`);
});

test("a target where something listens is exposed instead of the sample app", async () => {
  await using target = await listen();
  const demo = startDemo({ targetPort: target.port });
  const announcement = await demo.printed(/through the tunnel/);
  demo.stop();
  await demo.ended;
  expect(announcement).toContain(`tunnel-client http ${target.port} `);
  expect(demo.lines.join("\n")).not.toContain("nothing listens");
});

test("a target where nothing listens gets a warning and a tunnel, and the server stays off its port", async () => {
  const port = await freePort();
  const demo = startDemo({ targetPort: port, preferred: { http: port, grpc: port } });
  await demo.printed(/through the tunnel/);
  demo.stop();
  await demo.ended;
  expect(demo.lines.join("\n")).toContain(`nothing listens on 127.0.0.1:${port} yet`);
  expect(demo.lines.join("\n")).toContain("http-listen=127.0.0.1:0");
  expect(demo.lines.join("\n")).toContain("grpc-listen=127.0.0.1:0");
});

test("a client that dies ends the demo with its last output, and the server stops in order", async () => {
  const demo = startDemo({ programs: { server: program("server"), client: program("dies") } });
  await expect(demo.ended).rejects.toThrow(
    /the client ended with exit code 7; its last output:[^]*client │ a last word\\u001b\[31m/,
  );
  expect(demo.lines.at(-1)).toMatch(/^server │ .*stopped/);
  expect(existsSync(demo.dataDirectory())).toBe(false);
});

test("a server that dies before it listens ends the demo", async () => {
  const demo = startDemo({ programs: { server: program("dies"), client: program("client") } });
  await expect(demo.ended).rejects.toThrow(/the server ended with exit code 7/);
});

test("told to stop while the server starts, the demo stops without a complaint", async () => {
  const demo = startDemo({
    programs: { server: program("stubborn"), client: program("client") },
    patienceMs: 50,
  });
  await demo.printed(/^server │ .*up/);
  demo.stop();
  await expect(demo.ended).resolves.toBeUndefined();
});

test("a program that does not go is told twice, then killed", async () => {
  const lines: string[] = [];
  const child = new ChildProgram({
    name: "x",
    file: program("stubborn"),
    args: [],
    print: (line) => lines.push(line),
    patienceMs: 100,
  });
  await child.logged("up", 20_000, new AbortController().signal);
  await child.stop();
  expect(await child.ended).toBe("SIGKILL");
  expect(lines.filter((line) => line === "x │ no")).toHaveLength(2);
});

test("a message that never comes is an error with the program's last output", async () => {
  const child = new ChildProgram({
    name: "x",
    file: program("client"),
    args: [],
    print: () => undefined,
  });
  await child.logged("online", 20_000, new AbortController().signal);
  await expect(child.logged("listening", 20, new AbortController().signal)).rejects.toThrow(
    /the x did not log "listening" within 0.02 s; its last output:[^]*online/,
  );
  await child.stop();
});

function startDemo(options: Partial<DemoOptions> = {}) {
  const stop = new AbortController();
  const lines: string[] = [];
  const waiting: ((line: string) => void)[] = [];
  const ended = runDemo({
    programs: { server: program("server"), client: program("client") },
    preferred: { http: 0, grpc: 0 },
    print: (line) => {
      lines.push(line);
      for (const look of waiting) look(line);
    },
    colours: false,
    signal: stop.signal,
    ...options,
  });
  return {
    lines,
    ended,
    stop: () => stop.abort(),
    printed: (pattern: RegExp): Promise<string> => {
      const line = new Promise<string>((resolve) => {
        const look = (line: string): unknown => pattern.test(line) && resolve(line);
        waiting.push(look);
        lines.forEach(look);
      });
      const never = ended.then(() => {
        throw new Error(`the demo ended without printing ${pattern}:\n${lines.join("\n")}`);
      });
      return Promise.race([line, never]);
    },
    /** Where the demo keeps its files, as the server was told. */
    dataDirectory: (): string => dirname(/data-dir=(\S+)/.exec(lines.join("\n"))![1]!),
  };
}

async function listen(): Promise<AsyncDisposable & { port: number }> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = async (): Promise<void> => {
    server.close();
    await once(server, "close");
  };
  return { port: (server.address() as net.AddressInfo).port, [Symbol.asyncDispose]: close };
}

async function freePort(): Promise<number> {
  await using listening = await listen();
  return listening.port;
}
