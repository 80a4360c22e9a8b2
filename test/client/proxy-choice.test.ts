import { expect, test } from "vitest";
import { chooseProxy, parseProxyOption, type ProxyOption } from "../../client/proxy-choice.ts";
import { CommandError } from "../../runtime/command-error.ts";

const SERVER = { host: "tunnel.example.com", port: 7000 };

function choose({
  env = {},
  flag,
  file,
  host = SERVER.host,
}: {
  env?: Record<string, string>;
  flag?: string;
  file?: string;
  host?: string;
}) {
  const config = file === undefined ? undefined : (parseProxyOption(file) as ProxyOption);
  return chooseProxy({ server: { ...SERVER, host }, flag, config, env });
}

const at = (host: string, setBy: string) => ({ proxy: { host, port: 3128, setBy }, warnings: [] });
const NONE = { warnings: [] };

test.each<[string, Parameters<typeof choose>[0], ReturnType<typeof choose>]>([
  ["nothing is set", {}, NONE],
  ["HTTPS_PROXY is set", { env: { HTTPS_PROXY: "http://up:3128" } }, at("up", "HTTPS_PROXY")],
  ["lower case wins", { env: { HTTPS_PROXY: "up:3128", https_proxy: "low:3128" } }, at("low", "https_proxy")],
  [
    "what is empty is not set",
    { env: { HTTPS_PROXY: "up:3128", https_proxy: " " } },
    at("up", "HTTPS_PROXY"),
  ],
  ["ALL_PROXY is for all", { env: { ALL_PROXY: "http://up:3128" } }, at("up", "ALL_PROXY")],
  [
    "all_proxy wins over it",
    { env: { ALL_PROXY: "up:3128", all_proxy: "low:3128" } },
    at("low", "all_proxy"),
  ],
  [
    "HTTPS_PROXY wins over all_proxy",
    { env: { HTTPS_PROXY: "up:3128", all_proxy: "low:3128" } },
    at("up", "HTTPS_PROXY"),
  ],
  ["HTTP_PROXY is for http:// only", { env: { HTTP_PROXY: "up:3128", http_proxy: "low:3128" } }, NONE],
  ["NO_PROXY names the server", { env: { HTTPS_PROXY: "up:3128", NO_PROXY: "example.com" } }, NONE],
  [
    "no_proxy wins over NO_PROXY",
    { env: { https_proxy: "low:3128", NO_PROXY: "*", no_proxy: "a" } },
    at("low", "https_proxy"),
  ],
  ["NO_PROXY names it for ALL_PROXY", { env: { ALL_PROXY: "up:3128", no_proxy: ".example.com:7000" } }, NONE],
  [
    "the file wins over the environment",
    { env: { https_proxy: "low:3128" }, file: "file:3128" },
    at("file", "client.yaml"),
  ],
  ["the file says none", { env: { https_proxy: "low:3128" }, file: "none" }, NONE],
  [
    "NO_PROXY is about the environment",
    { env: { NO_PROXY: "*" }, file: "file:3128" },
    at("file", "client.yaml"),
  ],
  ["the command line wins over the file", { flag: "line:3128", file: "file:3128" }, at("line", "--proxy")],
  ["the command line says none", { env: { https_proxy: "low:3128" }, flag: "none", file: "file:3128" }, NONE],
  ["the command line wins over none", { flag: "line:3128", file: "none" }, at("line", "--proxy")],
  ["the server is here", { env: { HTTPS_PROXY: "up:3128" }, host: "127.0.0.1" }, NONE],
  ["the server is here by name", { env: { all_proxy: "up:3128" }, host: "localhost" }, NONE],
  [
    "the server is here and the command line names a proxy",
    { flag: "http://me:hidden@line:3128", host: "::1" },
    { warnings: ["the proxy from --proxy is not used: [::1]:7000 is on this machine"] },
  ],
])("which proxy: %s", (_what, options, choice) => {
  expect(choose(options)).toEqual(choice);
});

test("a proxy of another kind in HTTPS_PROXY ends the client with what to do, and shows no password", () => {
  const error = refusal({ env: { https_proxy: "socks5://me:hidden@proxy:1080" } });
  expect(error.exitCode).toBe(2);
  expect(error.message).toBe(
    "https_proxy: expected an HTTP proxy such as http://proxy.example.com:3128, or with a sign-in " +
      "http://USER:PASSWORD@proxy.example.com:3128; socks5:// proxies are not supported. To connect without a proxy, " +
      "pass --proxy none or name the server in NO_PROXY.",
  );
});

test.each([
  { flag: "none" },
  { file: "file:3128" },
  { host: "localhost" },
  { env: { NO_PROXY: "tunnel.example.com" } },
])("it is not looked at where it does not count: %j", ({ env, ...options }) => {
  expect(choose({ env: { HTTPS_PROXY: "socks5://proxy:1080", ...env }, ...options }).warnings).toEqual([]);
});

test("a proxy of another kind in ALL_PROXY is ignored with a warning, which shows no password", () => {
  const { proxy, warnings } = choose({ env: { ALL_PROXY: "socks5h://me:hidden@proxy:1080" } });
  expect(proxy).toBeUndefined();
  expect(warnings).toEqual([
    expect.stringMatching(/^ALL_PROXY is ignored: .*; socks5h:\/\/ proxies are not supported$/),
  ]);
  expect(warnings[0]).not.toContain("hidden");
});

test("--proxy that cannot be is refused without showing it", () => {
  const error = refusal({ flag: "https://me:hidden@proxy:3128" });
  expect(error.exitCode).toBe(2);
  expect(error.message).toMatch(
    /^--proxy: expected an HTTP proxy .*; https:\/\/ proxies are not supported; or none$/,
  );
  expect(error.message).not.toContain("hidden");
});

function refusal(options: Parameters<typeof choose>[0]): CommandError {
  try {
    choose(options);
  } catch (error) {
    if (error instanceof CommandError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}
