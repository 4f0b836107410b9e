/**
 * A consumer that this process is the active receiver of, at a server. One fiber keeps the subscription going: whenever
 * the connection is lost it comes back with the same token, says what this process has in hand, and goes on behind that.
 * So nothing is lost or repeated while this process lives and nobody else had the consumer meanwhile; if somebody had, or
 * has changed it (reset, redrive), the subscription is lost as it is where a lease was: `ConsumerFenced`.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { randomUUID } from "node:crypto"
import { ConsumerFenced, ForeignTransaction, type StoreError } from "../../../EventStreamError.js"
import type { AckError, SubscribeError } from "../../../services/Pusher.js"
import type { Letter } from "../../../services/EventStore.js"
import type { Shutdown } from "../../../streams/Shutdown.js"
import { sharedDecoder } from "../../../Event.js"
import type { Open, Subscription } from "../../Pusher.js"
import { defaultRetry, filterOf, fromOne, type Page, reconnecting, select, toBatch, within } from "../../reader.js"
import type { Frame } from "../wire.js"
import type { Answered, Calls } from "./calls.js"
import { lettersOf } from "./letters.js"
import { fromOf, registeredWho } from "./names.js"
import { pageOf } from "./pages.js"

/** Batches on their way, beside those that may be unacknowledged: one is read ahead. */
const ahead = 1

const mostCredit = 1000

const longestFarewell = "1 second"

const isRetryable = (error: Answered): error is StoreError => error._tag === "StoreError" && error.retryable

interface Session {
  readonly ident: string
  epoch: bigint
  /** Whether the stream is open that has given the epoch. */
  connected: boolean
  /** The last position that has arrived. */
  received: bigint
  acknowledged: bigint
}

export const make = ({ call, client, flow, settings }: Calls, shutdown: Shutdown): Open => (consumer, options = {}) =>
  Effect.gen(function*() {
    const who = yield* registeredWho("subscribe", consumer)
    const limit = options.limit === undefined ? undefined : yield* within("limit", options.limit, 1, 1000)
    const inFlight = yield* fromOne("maxInFlight", options.maxInFlight ?? 4)
    const selection = yield* select(options.want, options.catalog, sharedDecoder)
    const filter = filterOf(selection)
    const register = options.register === undefined ? undefined : {
      mode: options.register.mode,
      from: options.register.from === undefined ? undefined : yield* fromOf(options.register.from)
    }
    const schedule = options.reconnect ?? settings.reconnect
    const retry = reconnecting(schedule)
    const owner = randomUUID()
    const pages = yield* Queue.unbounded<Page>()
    const opened = yield* Deferred.make<Session, SubscribeError>()
    const ended = yield* Deferred.make<never, SubscribeError>()
    let session: Session | undefined

    const fenced = () =>
      new ConsumerFenced({ consumer: session?.ident ?? who.component, epoch: String(session?.epoch ?? 0n) })

    const end = (error: SubscribeError) =>
      Effect.zipRight(Deferred.fail(opened, error), Effect.asVoid(Deferred.fail(ended, error)))

    const arrived = (frame: Frame): Effect.Effect<void, ConsumerFenced> =>
      Effect.suspend(() => {
        if (frame._tag === "Page") {
          session!.received = frame.upTo
          return Effect.asVoid(Queue.offer(pages, pageOf(frame)))
        }
        const { continued, cursor, epoch, ident } = frame
        if (session !== undefined && !continued) return Effect.fail(fenced())
        if (session === undefined) session = { ident, epoch, connected: true, received: cursor, acknowledged: cursor }
        session.epoch = epoch
        session.connected = true
        return Deferred.succeed(opened, session)
      })

    const attempt = Effect.suspend(() => {
      const resume = session === undefined ? {} : { resume: { epoch: session.epoch, after: session.received } }
      const frames = client.Subscribe({
        who,
        want: selection.types,
        limit,
        register,
        // who has taken over meanwhile is not driven out
        whenBusy: session === undefined ? options.whenBusy ?? "wait" : "fail",
        owner,
        credit: Math.min(mostCredit, inFlight + ahead),
        ...resume
      }, { streamBufferSize: 1000 })
      return Stream.runForEach(flow("subscribe", frames), arrived)
    }).pipe(
      Effect.ensuring(Effect.sync(() => {
        if (session !== undefined) session.connected = false
      }))
    )

    const keeping = Effect.gen(function*() {
      const pauses = yield* Schedule.driver(schedule ?? defaultRetry)
      let epoch: bigint | undefined
      while (true) {
        const outcome = yield* Effect.either(attempt)
        if (session?.epoch !== epoch) yield* pauses.reset
        epoch = session?.epoch
        // over HTTP streams end by themselves
        if (outcome._tag === "Right") continue
        const error = outcome.left
        if (session !== undefined && error._tag === "ConsumerBusy") return yield* end(fenced())
        if (!isRetryable(error)) return yield* end(error as SubscribeError)
        const goesOn = yield* Effect.either(pauses.next(error))
        if (goesOn._tag === "Left") return yield* end(error)
      }
    })
    // who comes next need not wait for what is known here already
    const leave = Effect.suspend(() =>
      session === undefined || !session.connected
        ? Effect.void
        : Effect.ignore(Effect.timeoutOption(
          Effect.interruptible(call("leave", client.Leave({ who, epoch: session.epoch, owner }))),
          longestFarewell
        ))
    )
    yield* Effect.acquireRelease(
      Effect.forkDaemon(Effect.interruptible(keeping)),
      (fiber) => Effect.zipRight(leave, Fiber.interrupt(fiber))
    )
    const current = yield* shutdown.unlessEnding(Deferred.await(opened))
    yield* shutdown.join
    const { ident } = current

    /**
     * A call that is fenced by the epoch. Sent again with the new one after a reconnect: what it says is still true, because
     * nobody else had the consumer.
     */
    const fencing = (send: (epoch: bigint) => Effect.Effect<void, Answered>): Effect.Effect<void, AckError> =>
      Effect.gen(function*() {
        const pauses = yield* Schedule.driver(schedule ?? defaultRetry)
        while (true) {
          if (yield* Deferred.isDone(ended)) return yield* Effect.fail(yield* Effect.flip(Deferred.await(ended)))
          const { connected, epoch } = current
          const outcome = yield* Effect.either(send(epoch))
          if (outcome._tag === "Right") return
          const error = outcome.left
          const stale = error._tag === "ConsumerFenced" && (epoch !== current.epoch || !connected || !current.connected)
          if (!stale && !isRetryable(error)) return yield* Effect.fail(error)
          yield* Effect.mapError(pauses.next(error as StoreError), () => error)
        }
      }) as Effect.Effect<void, AckError>

    const next = Effect.raceFirst(Queue.take(pages), Deferred.await(ended))
    const foreign = Effect.fail(new ForeignTransaction({ operation: "run with exactlyOnce" }))
    const subscription: Subscription = {
      ident,
      epoch: current.epoch,
      next: shutdown.unlessEnding(next),
      decode: (page) => toBatch(page, selection),
      step: (upTo, deadLetters = []) =>
        Effect.suspend(() => {
          if (upTo <= current.acknowledged && deadLetters.length === 0) return Effect.void
          const letters = deadLetters.map(({ row, ...letter }) => ({ id: row.id as bigint, ...letter }))
          return Effect.map(fencing((epoch) => call("ack", client.Step({ who, epoch, upTo, letters }))), () => {
            if (upTo > current.acknowledged) current.acknowledged = upTo
          })
        }),
      stepWithin: () => foreign,
      pause: (why) => fencing((epoch) => call("pause", client.PauseMine({ who, epoch, why }))),
      parkedKeys: Effect.map(
        retry(call("parkedKeys", client.ParkedKeys({ who }))),
        (keys) => new Map(keys)
      ) as Subscription["parkedKeys"],
      redriven: Effect.map(
        retry(call("redriven", client.Redriven({ who, limit: limit ?? 1000 }))),
        lettersOf
      ) as Subscription["redriven"],
      decodeLetter: (letter: Letter) => selection.decode(letter.row),
      wants: ({ row }) => filter([row]).length > 0,
      settle: ({ row }, failed) =>
        fencing((epoch) => call("settle", client.Settle({ who, epoch, id: row.id, failed }))),
      settleWithin: () => foreign,
      lost: Effect.catchAll(
        Deferred.await(ended),
        (error) => error._tag === "ConsumerFenced" ? Effect.fail(error) : Effect.never
      ),
      keep: () => {},
      checkLease: Effect.flatMap(Deferred.isDone(ended), (is) => is ? Effect.fail(fenced()) : Effect.void)
    }
    return subscription
  })
