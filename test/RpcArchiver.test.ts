/** Archiving over the network: the history is on the client's side, the stream on the server's. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { Archiver, Generator, History } from "../src/index.js"
import * as Rpc from "../src/rpc.js"
import { Any, both } from "./support/archive.js"
import { startProxy } from "./support/proxy.js"
import { credentials, serving } from "./support/remote.js"
import { onEach } from "./support/stream.js"
import { withDatabase } from "./support/suite.js"

const events = (n: number, from = 0) =>
  Array.from({ length: n }, (_, i) =>
    Generator.event(Any, { n: from + i, text: "👩‍🚀 ünï \"' \\u0000 \u2028" }, {
      ...(i % 3 === 0 ? { key: `k ${i} 🔑` } : {}),
      ...(i % 5 === 0 ? { correlationId: `c ${i}` } : {})
    }))

onEach("Archiving over the network", ({ db, prefix, run }) => {
  const history = withDatabase("sqlite")

  for (const via of ["ws", "http"] as const) {
    it(`the history holds every event once, byte for byte, whatever is cut (${via})`, async () => {
      const p = prefix()
      await run(
        Effect.gen(function*() {
          const port = Number(new URL(yield* serving(via)).port)
          const proxy = yield* Effect.acquireRelease(
            Effect.promise(() => startProxy({ host: "127.0.0.1", port })),
            (proxy) => Effect.promise(() => proxy.stop())
          )
          const context = yield* Layer.build(Rpc.layer({
            url: `${via}://127.0.0.1:${proxy.port}/rpc`,
            credentials: credentials("ada"),
            history: { client: history().client(), prefix: p, migrate: "auto" as const }
          }))
          const archiver = Context.get(context, Archiver.Archiver)
          const generator = Context.get(context, Generator.Generator)
          yield* generator.addAll(events(300))
          expect(yield* archiver.once({ limit: 100 })).toMatchObject({ archived: 300, behind: 0, upTo: 300n })
          expect(yield* archiver.verify).toBe(300)
          expect(yield* archiver.once()).toMatchObject({ archived: 0, behind: 0, upTo: 300n })
          const running = yield* Effect.fork(archiver.run({ limit: 20 }))
          for (let i = 0; i < 10; i++) {
            yield* generator.addAll(events(40, 300 + i * 40))
            proxy.cutAll()
            yield* Effect.sleep(30)
          }
          yield* Fiber.interrupt(running)
          yield* archiver.once()
          expect(yield* archiver.verify).toBe(700)
          const archived = yield* Stream.runCollect(Context.get(context, History.History).query({}))
          expect([...archived].length).toBe(700)
        }),
        { prefix: p }
      )
      const { archived, log } = await both({ active: db(), history: history(), prefix: p })
      expect(archived).toEqual(log)
    })
  }
})
