/**
 * What a caller may do with its own consumers, and with events. All of it goes through its desk.
 */
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import type * as Duration from "effect/Duration"
import * as Consumer from "../../Consumer.js"
import { ConsumerExclusive, Forbidden } from "../../EventStreamError.js"
import * as ArchiverService from "../../services/Archiver.js"
import type { Desk } from "../network/desk.js"
import { fromOne, identOf, notAhead, registered, select } from "../reader.js"
import type * as EventStream from "../EventStream.js"
import { Caller } from "./auth.js"
import { administration } from "./administration.js"
import { answerBytes, fromOf, toLetters } from "./answers.js"
import { Group } from "./group.js"
import * as Subscriptions from "./subscriptions.js"
import * as Wire from "./wire.js"

/** An empty live frame says how far it is, at most so often, milliseconds. */
const silence = 1000
const mostLiveBuffer = 20_000

/** Whose consumer that is. A name that is not the caller's is refused whether there is one or not. */
const own = ({ identity }: Desk, { component, user }: Wire.Who): Effect.Effect<string, Forbidden> =>
  user === undefined || user === identity.user
    ? Effect.succeed(component)
    : Effect.fail(new Forbidden({ user: identity.user, needs: "act for another user" }))

export interface Options {
  /** Streams end after so long: where nobody would notice that the caller is gone. */
  readonly longestStream: Duration.DurationInput | undefined
}

export const make = (stream: EventStream.Service, subscriptions: Subscriptions.Subscriptions, options: Options) => {
  const { openLive, reader, source, store } = stream.core

  const withDesk = <A, E, R>(f: (desk: Desk) => Effect.Effect<A, E, R>) => Effect.flatMap(Caller, ({ desk }) => f(desk))

  /** Something of the caller's own consumer, which it needs a right for. */
  const mine = <A, E, R>(
    operation: string,
    right: "poll" | "push",
    who: Wire.Who,
    f: (ident: string, consumer: { readonly user: string; readonly component: string }) => Effect.Effect<A, E, R>
  ) =>
    withDesk((desk) =>
      Effect.gen(function*() {
        const consumer = desk.consumer(yield* own(desk, who))
        yield* desk.may(right, consumer.component)
        return yield* f(yield* identOf(operation, consumer), consumer)
      })
    )

  const cut = <E extends { readonly row: Parameters<typeof Wire.sizeOf>[0] }>(events: ReadonlyArray<E>) =>
    Wire.fitting(events, answerBytes, ({ row }) => Wire.sizeOf(row))

  const reading = withDesk((desk) => desk.may("push", ArchiverService.component))

  return Group.toLayer({
    Append: ({ events }) => withDesk((desk) => desk.append(events.map((event) => ({ ...event, keyHash: 0 })))),

    Register: ({ from, mode, who }) =>
      withDesk((desk) =>
        Effect.flatMap(
          own(desk, who),
          (component) => desk.register(component, { mode, from: from === undefined ? undefined : fromOf(from) })
        )
      ),
    Unregister: ({ who }) => withDesk((desk) => Effect.flatMap(own(desk, who), desk.unregister)),
    Poll: ({ generation, lastId, limit, want, who }) =>
      withDesk((desk) =>
        Effect.gen(function*() {
          const component = yield* own(desk, who)
          const batch = yield* desk.poll(component, { generation, limit, want, lastId })
          const events = cut(batch.events)
          return {
            rows: events.map(({ row }) => row),
            upTo: events.length < batch.events.length ? events[events.length - 1]!.id : batch.upTo ?? 0n,
            generation: batch.generation
          }
        })
      ),
    Read: ({ after, limit, want, who }) =>
      mine("stream", "poll", who, (ident) =>
        Effect.gen(function*() {
          const selection = yield* select(want, undefined)
          const most = yield* reader.limit(limit)
          const found = yield* reader.look(ident, after, selection)
          const cursor = yield* registered(ident, found)
          if (found.exclusive) return yield* new ConsumerExclusive({ consumer: ident })
          const position = after > cursor ? after : cursor
          yield* notAhead(ident, position, found)
          const { generation, paused } = found
          if (paused) return { cursor, paused, page: { rows: [], upTo: position, generation } }
          const { rows, upTo } = yield* reader.read(ident, found, position, selection, most)
          const kept = Wire.fitting(rows, answerBytes, Wire.sizeOf)
          const end = kept.length < rows.length ? kept[kept.length - 1]!.id : upTo
          return { cursor, paused, page: { rows: kept, upTo: end, generation } }
        })),
    Acknowledge: ({ upTo, who }) =>
      mine("ack", "poll", who, (ident) =>
        Effect.gen(function*() {
          const found = yield* store.look({ ident, after: 0n, window: 0 })
          yield* registered(ident, found)
          yield* notAhead(ident, upTo, found)
          yield* store.acknowledge(ident, upTo)
        })),

    Subscribe: ({ credit, limit, owner, register, resume, want, whenBusy, who }) =>
      mine("subscribe", "push", who, (_, consumer) =>
        subscriptions.subscribe({
          consumer,
          credit,
          owner,
          resume,
          options: {
            limit,
            want,
            whenBusy,
            ...(register === undefined ? {} : {
              register: {
                mode: register.mode,
                from: register.from === undefined ? undefined : fromOf(register.from)
              }
            })
          }
        }, options.longestStream)),
    Leave: ({ epoch, owner, who }) =>
      mine("leave", "push", who, (ident) => subscriptions.leave({ ident, epoch }, owner)),
    Step: ({ epoch, letters, upTo, who }) =>
      mine("ack", "push", who, (ident) => subscriptions.step({ ident, epoch }, upTo, letters)),
    PauseMine: ({ epoch, why, who }) =>
      mine(
        "pause",
        "push",
        who,
        (ident, { user }) => subscriptions.pause({ ident, epoch }, why.slice(0, 1000), `rpc:${user}`)
      ),
    ParkedKeys: ({ who }) =>
      mine("parkedKeys", "push", who, (ident) => Effect.map(store.parkedKeys(ident), (keys) => [...keys])),
    Redriven: ({ limit, who }) =>
      mine("redriven", "push", who, (ident) =>
        Effect.gen(function*() {
          const most = yield* reader.limit(limit)
          return toLetters(cut(yield* store.letters({ ident, redrive: true, after: 0n, limit: most })), false)
        })),
    Settle: ({ epoch, failed, id, who }) =>
      mine("settle", "push", who, (ident) => subscriptions.settle({ ident, epoch }, id, failed)),

    Live: ({ after, buffer, want }) =>
      withDesk((desk) =>
        Effect.gen(function*() {
          yield* desk.may("push", Consumer.live)
          const selection = yield* select(want, undefined)
          yield* fromOne("buffer", buffer)
          const frames = yield* Mailbox.make<Wire.LiveFrame, any>(1)
          const bounded = Math.min(buffer, mostLiveBuffer)
          const { next, start } = yield* openLive({ selection, buffer: bounded, after, reconnect: undefined })
          yield* frames.offer({ missed: 0, rows: [], upTo: after ?? start })
          let saidAt = 0
          const give = Effect.gen(function*() {
            const { missed, rows, upTo } = yield* next
            if (missed === 0 && rows.length === 0 && Date.now() - saidAt < silence) return
            saidAt = Date.now()
            let left = rows
            while (true) {
              const part = Wire.fitting(left, answerBytes, Wire.sizeOf)
              const all = part.length === left.length
              yield* frames.offer({ missed, rows: part, upTo: all ? upTo : part[part.length - 1]!.id })
              if (all) return
              left = left.slice(part.length)
            }
          })
          const giving = Effect.forever(give)
          yield* Effect.forkScoped(
            Effect.onExit(
              options.longestStream === undefined
                ? giving
                : Effect.raceFirst(giving, Effect.sleep(options.longestStream)),
              (exit) => frames.done(exit as any)
            )
          )
          return frames
        })
      ),

    Stream: () => Effect.succeed(stream.stream),
    ArchiverLook: () =>
      mine(
        "archive",
        "push",
        { component: ArchiverService.component },
        (ident) => Effect.map(store.look({ ident, after: 0n, window: 0 }), ({ cursor, head }) => ({ cursor, head }))
      ),
    ArchiverEnd: ({ sequence }) => Effect.zipRight(reading, sequence ? source.head : source.last),
    Generations: () => Effect.zipRight(reading, store.generations),
    Retention: () => Effect.zipRight(reading, store.retention),
    LogPage: ({ after, limit, upTo }) =>
      Effect.gen(function*() {
        yield* reading
        const rows = yield* source.page({ after, upTo, limit: yield* reader.limit(limit) })
        return Wire.fitting(rows, answerBytes, Wire.sizeOf)
      }),

    ...administration(stream)
  })
}
