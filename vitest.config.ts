import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    globalSetup: "test/support/install-programs.ts",
    include: ["test/**/*.test.ts"],
    // Two cores: vitest alone would leave one of them idle.
    maxWorkers: "100%",
    // Whole worlds start servers and processes; on a busy two-core machine that takes seconds.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
