/**
 * The receivers of one connection: `readyToReceive` begins a delivery, which goes on by itself.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Consumer from "../../Consumer.js"
import type * as EventStream from "../EventStream.js"
import type * as Limits from "../network/limits.js"
import { type Failure, refusal } from "./answer.js"
import type { Ready } from "./dispatch.js"
import * as Push from "./push.js"
import type { TakeOvers } from "./takeOvers.js"

export interface Options {
  readonly stream: EventStream.Service
  readonly connection: Limits.Connection
  readonly line: Push.Line
  /** Events of a push at most. */
  readonly limit: number
  readonly takeOvers: TakeOvers
  /** Ends the connection: its client comes back by itself, at once. */
  readonly close: (code: number, reason: string) => Effect.Effect<void>
}

/** A receiver whose turn has not come by then is told that it is ready, and stands by. */
const patience = Duration.seconds(2)
/** Before a connection is closed whose client would come back at once. */
const closeDelay = Duration.seconds(1)

const goingAway = 1001
const policyViolation = 1008
const tryAgainLater = 1013

const log = { info: Effect.logInfo, warning: Effect.logWarning, error: Effect.logError }

export type Receivers = (call: Ready) => Effect.Effect<void, Failure>

export const make = (options: Options): Effect.Effect<Receivers, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const { close, connection, line, stream, takeOvers } = options
    const active = new Map<string, { fiber?: Fiber.RuntimeFiber<void> }>()

    /** Delivers, and never ends by itself; `ready` runs when it has begun. */
    const deliver = (
      call: Ready,
      ready: Effect.Effect<void>
    ): Effect.Effect<never, Failure | Push.PushError, Scope.Scope> =>
      Effect.gen(function*() {
        yield* connection.subscription(call.desk.identity.user)
        if (Consumer.isLive(call.component)) {
          const live = yield* Push.openLive(stream, call, line)
          yield* ready
          return yield* live
        }
        const subscription = yield* Push.open(stream, call, options.limit, takeOvers)
        yield* ready
        return yield* Push.reliable(subscription, line, call.minor)
      })

    /** What has begun cannot go on. */
    const ended = (ident: string, cause: Cause.Cause<Failure | Push.PushError>): Effect.Effect<void> => {
      if (Cause.isInterruptedOnly(cause)) return close(goingAway, "the stream ends")
      const failure = Option.getOrUndefined(Cause.failureOption(cause))
      if (failure?._tag === "ConsumerFenced") {
        return Effect.zipRight(
          Effect.logInfo(`FTN18: another receiver has taken the place of ${ident}`),
          close(policyViolation, "another receiver is active")
        )
      }
      return (failure?._tag === "Broken"
        ? log[failure.level](`FTN18: the connection of ${ident} is closed: ${failure.why}`)
        : Effect.logError(`FTN18: the connection of ${ident} is closed`, cause)).pipe(
          Effect.zipRight(Effect.sleep(closeDelay)),
          Effect.zipRight(close(tryAgainLater, failure?._tag === "Broken" ? failure.why.slice(0, 100) : ""))
        )
    }

    return (call) =>
      Effect.gen(function*() {
        const { component, desk } = call
        yield* desk.may("push", component)
        const ident = `${desk.identity.user}:${component}`
        const before = active.get(ident)
        const own: { fiber?: Fiber.RuntimeFiber<void> } = {}
        active.set(ident, own)
        if (before?.fiber !== undefined) yield* Fiber.interrupt(before.fiber)
        const begun = yield* Deferred.make<void, Failure>()
        let told = false
        own.fiber = yield* Effect.forkIn(
          Effect.flatMap(Effect.exit(Effect.scoped(deliver(call, Deferred.succeed(begun, undefined)))), (exit) => {
            if (active.get(ident) === own) active.delete(ident)
            else return Deferred.fail(begun, refusal("DefenseRejected", "A later call has taken its place"))
            const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
            return told ? ended(ident, cause) : Deferred.failCause(begun, cause as Cause.Cause<Failure>)
          }),
          scope
        )
        yield* Effect.timeoutTo(Deferred.await(begun), {
          duration: patience,
          onSuccess: () => {},
          onTimeout: () => {}
        })
        told = true
      })
  })
