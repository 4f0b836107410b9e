/**
 * A reliable consumer over Server-Sent Events. The connection holds the consumer's lease; what is acknowledged comes by
 * requests of their own (`POST /events/ack`), or as the Last-Event-ID of the next connection (`ack=reconnect`).
 *
 * A request may reach another process than the one with the connection. So an acknowledgement is written to the database
 * wherever it arrives; the process with the connection sees it at once if it was there, else within a second.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as EventId from "../../EventId.js"
import { ConsumerExclusive } from "../../EventStreamError.js"
import type * as EventStream from "../EventStream.js"
import type { Desk } from "../network/desk.js"
import type { Subscription } from "../Pusher.js"
import { fromOne, identOf, notAhead, registered } from "../reader.js"
import type { From } from "../../services/Poller.js"
import type { Failure } from "./problem.js"
import type { Source } from "./sse.js"

export interface Options {
  readonly component: string
  readonly want: ReadonlyArray<string> | undefined
  readonly register: From | undefined
  /** `reconnect`: the response ends when as much is unacknowledged as may be, and the Last-Event-ID acknowledges. */
  readonly ack: "post" | "reconnect"
  readonly lastEventId: string | undefined
  /** Who comes back with the same one takes its own place, however its last connection ended. */
  readonly receiver: string | undefined
  readonly busy: "wait" | "takeOver" | "fail"
  readonly limit: number | undefined
  readonly inFlight: number | undefined
}

/** How often a connection that waits for an acknowledgement looks for one that was given to another process. */
const looking = "1 second"

interface Session {
  readonly acknowledge: (upTo: bigint) => ReturnType<Subscription["step"]>
}

export interface Receivers {
  readonly open: (desk: Desk, options: Options) => Effect.Effect<Source, Failure, Scope.Scope>
  readonly acknowledge: (desk: Desk, component: string, upTo: EventId.Input) => Effect.Effect<void, Failure>
}

export const make = ({ core: { open, reader, store } }: EventStream.Service): Receivers => {
  const sessions = new Map<string, Session>()
  const look = (ident: string) => store.look({ ident, after: 0n, window: 0 })

  const acknowledge: Receivers["acknowledge"] = (desk, component, input) =>
    Effect.gen(function*() {
      yield* desk.may("push", component)
      const ident = yield* identOf("acknowledge", desk.consumer(component))
      const upTo = yield* EventId.parse("upTo", input)
      const found = yield* look(ident)
      yield* registered(ident, found)
      yield* notAhead(ident, upTo, found)
      const session = sessions.get(ident)
      if (session !== undefined) return yield* session.acknowledge(upTo)
      if (found.exclusive) return yield* new ConsumerExclusive({ consumer: ident })
      yield* store.acknowledge(ident, upTo)
    })

  const openOne: Receivers["open"] = (desk, options) =>
    Effect.gen(function*() {
      const { component, want } = options
      yield* desk.may("push", component)
      const ident = yield* identOf("subscribe", desk.consumer(component))
      const most = yield* fromOne("inFlight", options.inFlight ?? 4)
      yield* reader.limit(options.limit)
      if (options.register !== undefined) yield* desk.register(component, { from: options.register })
      const found = yield* look(ident)
      yield* registered(ident, found)
      const seen = options.ack === "reconnect" && options.lastEventId !== undefined
        ? yield* EventId.parse("Last-Event-ID", options.lastEventId)
        : 0n
      yield* notAhead(ident, seen, found)

      const scope = yield* Effect.scope
      const free = yield* Effect.makeLatch(false)
      let subscription: Subscription | undefined
      /** Batches that are not acknowledged: the id of their last event, and how far they reach. */
      let inFlight: Array<{ readonly last: bigint; readonly upTo: bigint }> = []
      let position = 0n

      const settle = (upTo: bigint) => {
        inFlight = inFlight.filter(({ last }) => last > upTo)
        free.unsafeOpen()
      }
      const acknowledged = (step: Subscription["step"]): Session["acknowledge"] => (upTo) =>
        Effect.suspend(() => {
          // what comes after the last event of a batch is not wanted
          const done = inFlight.filter(({ last }) => last <= upTo)
          const reached = done.reduce((most, one) => one.upTo > most ? one.upTo : most, upTo)
          return Effect.map(step(reached), () => settle(upTo))
        })

      /** It may have to wait for another receiver, while the response has begun. */
      const opened = Effect.gen(function*() {
        if (subscription !== undefined) return subscription
        const mine = yield* Scope.extend(
          open(
            desk.consumer(component),
            { want, limit: options.limit, whenBusy: options.busy },
            {
              receiver: {
                owner: options.receiver === undefined ? randomUUID() : `http-${options.receiver}`,
                startAt: ({ cursor }) => position = cursor > seen ? cursor : seen
              }
            }
          ),
          scope
        )
        const session: Session = { acknowledge: acknowledged(mine.step) }
        sessions.set(ident, session)
        yield* Scope.addFinalizer(
          scope,
          Effect.sync(() => {
            if (sessions.get(ident) === session) sessions.delete(ident)
          })
        )
        if (seen > 0n) yield* mine.step(seen)
        return (subscription = mine)
      })

      const credit = Effect.gen(function*() {
        while (inFlight.length >= most) {
          if (options.ack === "reconnect") return yield* Effect.fail(Option.none())
          yield* free.close
          const here = yield* Effect.timeoutOption(free.await, looking)
          if (Option.isSome(here)) continue
          const { cursor } = yield* Effect.mapError(look(ident), Option.some)
          if (cursor !== undefined) settle(cursor)
        }
      })

      const take = (mine: Subscription) =>
        Effect.gen(function*() {
          yield* credit
          const page = yield* Effect.mapError(mine.next, Option.some)
          position = page.upTo
          const { events } = mine.decode(page)
          const before = inFlight[inFlight.length - 1]
          const last = page.rows[page.rows.length - 1]
          if (last !== undefined) inFlight.push({ last: last.id, upTo: page.upTo })
          // nothing of it is wanted: it goes with what is before it, or at once
          else if (before !== undefined) inFlight[inFlight.length - 1] = { last: before.last, upTo: page.upTo }
          else yield* Effect.mapError(mine.step(page.upTo), Option.some)
          return events
        })
      const next = Effect.flatMap(
        Effect.mapError(opened, Option.some),
        (mine) => Effect.raceFirst(take(mine), Effect.mapError(mine.lost, Option.some))
      )
      return {
        next: store.outside("subscribe", next) as Source["next"],
        position: () => position
      }
    })

  return { acknowledge, open: openOne }
}
