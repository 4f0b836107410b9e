/**
 * The Poller on an event store.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Consumer from "../Consumer.js"
import * as EventId from "../EventId.js"
import { ConsumerExclusive, NotRegistered, StreamChanged } from "../EventStreamError.js"
import type { Look, Service as EventStore } from "../services/EventStore.js"
import type { Delivery, PollError, Service } from "../services/Poller.js"
import * as Idle from "../streams/Idle.js"
import { identOf, notAhead, type Reader, reconnecting, registered, select, startOf, toBatch, toId } from "./reader.js"

/** How long a stream reads on by what one look has found. */
const longestLook = 1000

export const make = (store: EventStore, reader: Reader): Service => {
  const { look, pageOf, read, sequence } = reader

  /** The last id offered to a consumer and not yet acknowledged, as far as this process has seen. */
  const offered = new Map<string, bigint>()

  const poll: Service["poll"] = (consumer, options) =>
    store.outside(
      "poll",
      Effect.gen(function*() {
        const name = yield* Consumer.ident(consumer)
        const ident = Consumer.isLive(consumer) ? undefined : name
        const limit = yield* reader.limit(options?.limit)
        const selection = yield* select(options?.want, options?.catalog)
        const lastId = options?.lastId === undefined ? 0n : yield* EventId.parse("lastId", options.lastId)
        const found = yield* look(ident, lastId, selection)
        const cursor = ident === undefined ? 0n : yield* registered(name, found)
        if (found.exclusive) return yield* new ConsumerExclusive({ consumer: name })
        if (options?.generation !== undefined && options.generation !== found.generation) {
          return yield* new StreamChanged({ ours: found.generation, theirs: options.generation })
        }
        yield* notAhead(name, lastId > cursor ? lastId : cursor, found)
        if (found.paused) {
          if (lastId > cursor) yield* store.acknowledge(name, lastId)
          return toBatch({ look: found, rows: [], upTo: lastId > cursor ? lastId : cursor }, selection)
        }
        const after = lastId > cursor ? lastId : cursor
        if (ident !== undefined && lastId > cursor) yield* store.acknowledge(ident, lastId)
        const page = yield* read(ident, found, after, selection, limit)
        if (ident !== undefined) {
          const last = offered.get(ident) ?? 0n
          if (page.rows.length > 0) {
            const end = page.rows[page.rows.length - 1]!.id
            if (end > last) offered.set(ident, end)
          } else if (last <= after) {
            offered.delete(ident)
            if (page.upTo > after) yield* store.acknowledge(ident, page.upTo)
          }
        }
        return toBatch(page, selection)
      })
    )

  const register: Service["register"] = (consumer, options) =>
    store.outside(
      "register",
      Effect.gen(function*() {
        const ident = yield* identOf("register", consumer)
        const start = yield* startOf(options?.from ?? "beginning")
        if (typeof start === "object" && "after" in start) {
          yield* notAhead(ident, start.after, yield* store.look({ ident: undefined, after: 0n, window: 0 }))
        }
        return toId(yield* store.register({ ident, from: start, exclusive: options?.mode === "exclusive" }))
      })
    )

  const unregister: Service["unregister"] = (consumer) =>
    store.outside(
      "unregister",
      Effect.flatMap(identOf("unregister", consumer), (ident) =>
        Effect.flatMap(store.unregister(ident), (was): Effect.Effect<void, NotRegistered> => {
          offered.delete(ident)
          return was ? Effect.void : Effect.fail(new NotRegistered({ consumer: ident }))
        }))
    )

  const stream: Service["stream"] = (consumer, options) =>
    Stream.unwrapScoped(Effect.gen(function*() {
      const ident = yield* identOf("stream", consumer)
      const limit = yield* reader.limit(options?.limit)
      const selection = yield* select(options?.want, options?.catalog)
      if (options?.register !== undefined) yield* register(consumer, options.register)
      const idle = yield* Idle.make(options?.idle)
      yield* store.hints(idle.hint)
      const retry = reconnecting(options?.reconnect)

      let position = 0n
      let found: Look | undefined
      let lookedAt = 0
      /** How far the last look reaches: up to there pages can be read without another one. */
      const horizon = (look: Look) => selection.types === undefined ? look.head : look.bound ?? 0n
      const lookAgain = Effect.gen(function*() {
        const again = yield* look(ident, position, selection)
        const cursor = yield* registered(ident, again)
        if (again.exclusive) return yield* new ConsumerExclusive({ consumer: ident })
        if (found === undefined) yield* notAhead(ident, cursor, again)
        // somebody else may have moved the cursor on; this stream never goes back
        if (cursor > position) position = cursor
        lookedAt = yield* Clock.currentTimeMillis
        return (found = again)
      })
      const next: Effect.Effect<Delivery<any>, PollError> = Effect.gen(function*() {
        while (true) {
          if (found?.paused === true) {
            found = undefined
            yield* idle.pause
          }
          // not for the whole of a long history: the consumer may have been paused
          const recent = (yield* Clock.currentTimeMillis) - lookedAt < longestLook
          const seen = found !== undefined && recent && position < horizon(found) ? found : yield* lookAgain
          if (seen.paused) continue
          const page = yield* pageOf(seen, position, selection, limit)
          if (page.upTo > position) {
            position = page.upTo
            yield* idle.busy
            return { batch: toBatch(page, selection), ack: retry(store.acknowledge(ident, page.upTo)) }
          }
          if (!store.sequenced || (yield* sequence()) <= seen.head) yield* idle.pause
        }
      })
      const pull = store.outside("stream", retry(next)) as Effect.Effect<Delivery<any>, PollError>
      // one batch is read ahead while the last one is handled
      return Stream.buffer(Stream.repeatEffect(pull), { capacity: 1 })
    }))

  return { register, unregister, poll, stream }
}
