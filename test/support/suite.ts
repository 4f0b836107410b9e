/** What suites register with vitest; apart from backends.ts, which works outside of vitest, too. */
import { afterAll, beforeAll, describe, it } from "vitest"
import { type Backend, createDatabase, type TestDatabase } from "./backends.js"

/** Shows in the report which backends a suite did not run on, and why. */
export const skipMissing = (name: string) => {
  for (const backend of ["postgres", "mysql"] as const) {
    const missing = process.env[`EVT_RUN_${backend.toUpperCase()}_MISSING`]
    if (missing === undefined) continue
    describe.skip(`${name} (${backend})`, () => {
      it(missing, () => {})
    })
  }
}

/** A database of the current suite's own, made before its tests and dropped after them. */
export const withDatabase = (backend: Backend, options?: Parameters<typeof createDatabase>[1]): () => TestDatabase => {
  let db: TestDatabase | undefined
  beforeAll(async () => {
    db = await createDatabase(backend, options)
  })
  afterAll(() => db?.drop())
  return () => db!
}
