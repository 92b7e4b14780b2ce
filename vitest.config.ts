import { defineConfig } from "vitest/config";

// Tests live beside the code. `--all` (CASEMATE_TEST_DEPTH=all) adds the `*.deep.test.ts` files:
// every kill stage, soak, PostgreSQL 15.
const deep = process.env.CASEMATE_TEST_DEPTH === "all";

export default defineConfig({
  test: {
    include: ["**/*.test.ts"],
    exclude: ["node_modules/**", ".casemate/**", ...(deep ? [] : ["**/*.deep.test.ts"])],
    // Nothing is claimed by these: they only end what hangs. All tests at once keep two slow cores busy for long.
    testTimeout: deep ? 180_000 : 60_000,
    hookTimeout: deep ? 240_000 : 120_000,
    // Waiting for something to become so is no measurement: a machine with much to do takes its time.
    expect: { poll: { timeout: 20_000 } },
    // Tests wait for other processes a third of their time. With `--all` the kill stages would feel a third neighbour.
    maxWorkers: deep ? 2 : 3,
    globalSetup: ["testing/global-setup.ts"],
  },
});
