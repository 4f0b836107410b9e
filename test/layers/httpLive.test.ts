/** The joint of the log and the live tail, with whatever is written in between: a model of both instead of a database. */
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import { expect, it } from "vitest"
import * as Live from "../../src/layers/http/live.js"

/** Each step of the reader, the tail and the store lets so many events be written before it. */
const model = (writes: ReadonlyArray<number>, options: { readonly pageSize: number; readonly jump: number }) => {
  let head = 20
  let at = 0
  const write = () => {
    head += writes[at++] ?? 0
  }
  const rowsOf = (after: bigint, upTo: number, limit: number) => {
    const rows = []
    for (let id = Number(after) + 1; id <= upTo && rows.length < limit; id++) {
      rows.push({ id: BigInt(id), type: "A", data: "1", meta: null })
    }
    return rows
  }
  const stepped = <A>(make: () => A) => Effect.sync(() => (write(), make()))
  const core = {
    store: {
      retention: stepped(() => ({ discardedTo: 0n })),
      look: () => stepped(() => ({ head: BigInt(head) }))
    },
    reader: {
      mostRows: options.pageSize,
      look: () => stepped(() => ({ head: BigInt(head) })),
      read: (_: unknown, look: { head: bigint }, after: bigint) =>
        stepped(() => {
          const rows = rowsOf(after, head, options.pageSize)
          return { look, rows, upTo: rows.length === 0 ? after : rows[rows.length - 1]!.id }
        })
    },
    openLive: ({ after }: { readonly after: bigint | undefined }) =>
      stepped(() => {
        let position = after ?? BigInt(head)
        // somebody else has taken the tail on meanwhile
        const from = BigInt(Math.max(0, head - options.jump))
        write()
        return {
          start: BigInt(head),
          next: stepped(() => {
            if (position < from) {
              const missed = Number(from - position)
              position = from
              return { missed, rows: [], upTo: from }
            }
            const rows = rowsOf(position, head, 3)
            if (rows.length > 0) position = rows[rows.length - 1]!.id
            return { missed: 0, rows, upTo: position }
          })
        }
      })
  }
  return { core, head: () => head, written: () => at >= writes.length }
}

it("every event after the id comes once, in order, and without a gap", async () => {
  await FastCheck.assert(
    FastCheck.asyncProperty(
      // mostly nothing, so that the end of the log is reached while more is to come
      FastCheck.array(
        FastCheck.oneof({ weight: 4, arbitrary: FastCheck.constant(0) }, {
          weight: 1,
          arbitrary: FastCheck.integer({ min: 1, max: 9 })
        }),
        { maxLength: 60, size: "max" }
      ),
      FastCheck.integer({ min: 1, max: 7 }),
      FastCheck.nat({ max: 5 }),
      FastCheck.nat({ max: 20 }),
      async (writes, pageSize, jump, after) => {
        const { core, head, written } = model(writes, { pageSize, jump })
        const seen = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
          const source = yield* Live.open({ core } as never, { may: () => Effect.void } as never, {
            want: undefined,
            from: String(after),
            buffer: 100
          })
          const events: Array<any> = []
          for (let i = 0; i < 300 && !(written() && source.position() >= BigInt(head())); i++) {
            events.push(...yield* Effect.mapError(source.next, Option.getOrThrow))
          }
          return events
        })))
        expect(seen.map((event) => event._tag)).not.toContain("Gap")
        expect(seen.map(({ id }) => Number(id))).toEqual(
          Array.from({ length: head() - after }, (_, i) => after + 1 + i)
        )
      }
    ),
    { numRuns: 1000 }
  )
})
