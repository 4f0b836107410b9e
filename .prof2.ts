import { Effect } from "effect"
import { open, Happened, services, text } from "./bench/subject.js"
import { Generator } from "./src/index.js"
const s = await open(process.argv[2] as any, { connections: 4 })
await s.run(Effect.gen(function*() {
  const { generator, sequencer, poller } = yield* services
  for (let r = 0; r < 3; r++) {
    yield* s.backend && Effect.void
    yield* generator.transaction(Effect.gen(function*() { for (let i = 0; i < 10; i++) yield* generator.emitAll(Array.from({ length: 2000 }, (_, n) => Generator.event(Happened, { n, text }))) }))
    const a = performance.now(); let last = 0n
    while (true) { yield* sequencer.run; const b = yield* poller.poll("LIVE", { lastId: BigInt(r * 20000 + 19999), limit: 1 }).pipe(Effect.option); if (b._tag === "Some" && b.value.events.length > 0) break }
    console.log("20000 in", performance.now() - a)
  }
}))
await s.close()
