/** The epoch of a consumer's row: what keeps out who had it before (DESIGN 4, fencing). */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { expect, it } from "vitest"
import * as Store from "../../src/layers/sql/store.js"
import { onEach } from "../support/stream.js"

const ident = "local:C"
const registration = { ident, exclusive: false, from: "beginning" } as const

onEach("The epoch of a consumer", ({ prefix, run }) => {
  it("a receiver of an earlier registration of the same name cannot move the cursor", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const store = yield* Store.make({ sql, reader: undefined, prefix: p, schema: undefined, migrate: "auto" })
        const claim = (owner: string) =>
          Effect.flatMap(
            store.claim({ ident, owner, force: true, ttl: 15_000 }),
            (claim) => claim._tag === "Claimed" ? Effect.succeed(claim.epoch) : Effect.fail(claim._tag)
          )
        const step = (epoch: bigint) => store.step({ ident, epoch, upTo: 0n, deadLetters: [] })
        yield* store.register(registration)
        const first = yield* claim("a")
        expect(yield* step(first)).toBe("done")
        yield* store.unregister(ident)
        expect(yield* step(first)).toBe("unregistered")
        yield* Effect.sleep(2)
        yield* store.register(registration)
        const second = yield* claim("b")
        expect(yield* step(first)).toBe("fenced")
        expect(yield* step(second)).toBe("done")
      }),
      { prefix: p }
    )
  })
})
