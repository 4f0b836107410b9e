/** Consumer groups: a consumer whose partitions are shared among runs, in one process here; test/faults/groups.test.ts has several. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { expect, it } from "vitest"
import { EventType, Generator, type Pusher } from "../src/index.js"
import { onEach, services } from "./support/stream.js"

const Keyed = EventType.make("KEYED", Schema.Struct({ key: Schema.String, n: Schema.Int }), { key: ({ key }) => key })

/** `count` events, of `keys` keys in turn; `n` counts those of all keys. */
const keyed = (count: number, keys: number, from = 0) =>
  Array.from({ length: count }, (_, i) => Generator.event(Keyed, { key: `k${(from + i) % keys}`, n: from + i }))

const soon = { pusher: { leaseTtl: "1 second" } } as const

const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(condition, { until: (is) => is, schedule: Schedule.spaced("20 millis") }).pipe(
    Effect.timeout("20 seconds")
  )

/** Members of the group of `C`, and what each has handled. */
const group = (partitions: number, options: Pusher.RunOptions<any, any> = {}) => {
  const handled: Array<{ readonly member: string; readonly key: string; readonly n: number }> = []
  const start = (member: string, handle: (event: any) => Effect.Effect<unknown, unknown> = () => Effect.void) =>
    Effect.flatMap(services, ({ pusher }) =>
      Effect.fork(pusher.run(
        "C",
        (event: any) => Effect.tap(handle(event), () => Effect.sync(() => handled.push({ member, ...event.data }))),
        { want: [Keyed], register: {}, partitions, ...options } as any
      )))
  const has = (count: number) => until(Effect.sync(() => new Set(handled.map(({ n }) => n)).size >= count))
  const by = (member: string) => handled.filter((one) => one.member === member)
  return { handled, start, has, by }
}

/** Who owns how many partitions of `C`. */
const owned = Effect.flatMap(services, ({ consumers }) =>
  Effect.map(consumers.list, (all) => {
    const counts = new Map<string, number>()
    for (const { owner } of all.find(({ component }) => component === "C")?.partitions ?? []) {
      const name = owner?.member ?? "nobody"
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    return counts
  }))

const shares = Effect.map(owned, (counts) => [...counts.values()].sort((a, b) => a - b).join(" "))
const sharesAre = (expected: string) =>
  until(Effect.map(Effect.zip(owned, shares), ([counts, now]) => !counts.has("nobody") && now === expected))

/** Nothing of a key came before what is before it. */
const inOrder = (handled: ReadonlyArray<{ readonly key: string; readonly n: number }>) => {
  const last = new Map<string, number>()
  for (const { key, n } of handled) {
    expect(n).toBeGreaterThan(last.get(key) ?? -1)
    last.set(key, n)
  }
}

onEach("A group", ({ prefix, run }) => {
  it("one run owns all partitions: everything once, in order by key", async () => {
    const g = group(8)
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        yield* generator.addAll(keyed(200, 20))
        const fiber = yield* g.start("a")
        yield* sharesAre("8")
        yield* generator.addAll(keyed(200, 20, 200))
        yield* g.has(400)
        // the consumer's cursor is the smallest of theirs, also of those that have seen nothing
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === 400n))
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(g.handled.length).toBe(400)
    inOrder(g.handled)
  })

  it("runs that come share them fairly, those that stay take over from those that go", async () => {
    const g = group(8)
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const a = yield* g.start("a", () => Effect.sleep(2))
        yield* sharesAre("8")
        const b = yield* g.start("b", () => Effect.sleep(2))
        const emitting = yield* Effect.fork(
          Effect.forEach(
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            (i) => Effect.zipRight(generator.addAll(keyed(100, 30, i * 100)), Effect.sleep(100))
          )
        )
        yield* sharesAre("4 4")
        const c = yield* g.start("c", () => Effect.sleep(2))
        yield* sharesAre("2 3 3")
        yield* Fiber.interrupt(a)
        yield* sharesAre("4 4")
        yield* Fiber.interrupt(b)
        yield* sharesAre("8")
        yield* Fiber.join(emitting)
        yield* g.has(1000)
        yield* Fiber.interrupt(c)
      }),
      { prefix: prefix(), ...soon }
    )
    for (const member of ["a", "b", "c"]) inOrder(g.by(member))
    // nobody was overtaken; what was in hand of who was interrupted is repeated
    const first = new Map<string, ReadonlyArray<number>>()
    for (const { key, n } of g.handled) {
      const seen = first.get(key) ?? []
      if (!seen.includes(n)) first.set(key, [...seen, n])
    }
    for (const seen of first.values()) expect(seen).toEqual([...seen].sort((a, b) => a - b))
  })
})
