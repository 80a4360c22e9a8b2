import { describe, expect, test } from "vitest";
import { parseWrk } from "../../bench/load/wrk.ts";

/** As wrk prints it. */
function report({
  requests = "43008 requests in 2.10s, 8.00MB read",
  p50 = "1.10ms",
  p99 = "3.25ms",
  more = "",
} = {}): string {
  return `Running 2s test @ http://127.0.0.1:8080/small
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23ms  450.00us  12.34ms   71.35%
    Req/Sec    21.50k     1.20k   24.00k    70.00%
  Latency Distribution
     50%    ${p50}
     75%    1.50ms
     90%    2.00ms
     99%    ${p99}
  ${requests}
${more}Requests/sec:  20480.00
Transfer/sec:      3.81MB
`;
}

describe("a report of wrk's", () => {
  test("gives the rate over the time that it really took", () => {
    expect(parseWrk(report())).toEqual({ requests: 43_008, rate: 43_008 / 2.1, p50: 1.1, p99: 3.25 });
  });

  test.for([
    ["850.00us", 0.85],
    ["12.34ms", 12.34],
    ["1.50s", 1_500],
    ["1.20m", 72_000],
  ] as const)("tells %s in milliseconds", ([text, ms]) => {
    expect(parseWrk(report({ p99: text })).p99).toBeCloseTo(ms, 6);
  });

  test("of more than a minute is read too", () => {
    expect(parseWrk(report({ requests: "120 requests in 2.00m, 1.00MB read" })).rate).toBe(1);
  });

  test("with socket errors is a failure that says which", () => {
    const more = "  Socket errors: connect 0, read 3, write 0, timeout 1\n";
    expect(() => parseWrk(report({ more }))).toThrow("socket errors: connect 0, read 3, write 0, timeout 1");
  });

  test("with answers other than 2xx is a failure that says how many", () => {
    expect(() => parseWrk(report({ more: "  Non-2xx or 3xx responses: 12\n" }))).toThrow("12 answers");
  });

  test("without a single answer is a failure", () => {
    expect(() => parseWrk(report({ requests: "0 requests in 2.00s, 0.00B read" }))).toThrow("not one");
  });

  test("that is none is a failure that shows it", () => {
    expect(() => parseWrk("unable to connect")).toThrow("unable to connect");
  });
});
