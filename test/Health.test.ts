import * as Effect from "effect/Effect"
import { expect, it } from "vitest"
import { onEach, services } from "./support/stream.js"

onEach("Health", ({ prefix, run }) => {
  it("ready with everything well", async () => {
    await run(
      Effect.gen(function*() {
        const { health } = yield* services
        console.log(yield* health.vitals)
        console.log(yield* health.diagnose())
      }),
      { prefix: prefix() }
    )
  })
})
