import { defineConfig } from "vitest/config"

/** The fault tests with all their rounds; `npm test` runs a bounded round of the same files. */
export default defineConfig({
  test: {
    include: ["test/faults/**/*.test.ts"],
    globalSetup: ["test/support/globalSetup.ts"],
    env: { EVT_FAULTS: "full" },
    pool: "forks",
    poolOptions: { forks: { maxForks: 1, minForks: 1 } },
    testTimeout: 600_000,
    hookTimeout: 120_000
  }
})
