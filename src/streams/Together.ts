/**
 * Requests that come while one is on its way wait, and then go together: many small writes at the same time cost as much
 * as one. Who comes alone goes at once.
 *
 * - Nobody fails for another one's sake: where they cannot go together each goes alone.
 * - Nobody waits long for another one: what is on its way for longer than `patience` is not waited for by the rest.
 * - A caller that is interrupted before its request went is withdrawn; afterwards it waits for what is on its way.
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import { settled } from "../internal/finishing.js"

export interface Options<A, B, E> {
  readonly alone: (item: A) => Effect.Effect<B, E>
  /** Of two or more; answers in order. */
  readonly together: (items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<B>, E>
  readonly maxItems: number
  readonly patience: Duration.DurationInput
}

interface Request<A, B, E> {
  readonly item: A
  /** What its caller has to do for the answer. */
  readonly answer: Deferred.Deferred<Effect.Effect<B, E>>
}

export const make = <A, B, E>(options: Options<A, B, E>): (item: A) => Effect.Effect<B, E> => {
  const { alone, maxItems, patience, together } = options
  const waiting: Array<Request<A, B, E>> = []
  let flight: object | undefined

  const answering = ([first, ...others]: ReadonlyArray<Request<A, B, E>>): Effect.Effect<void> => {
    if (first === undefined) return Effect.void
    if (others.length === 0) {
      return Effect.flatMap(Effect.exit(alone(first.item)), (exit) => Deferred.succeed(first.answer, exit))
    }
    const all = [first, ...others]
    return Effect.matchCause(together(all.map(({ item }) => item)), {
      onSuccess: (answers) => {
        for (const [i, { answer }] of all.entries()) {
          Deferred.unsafeDone(answer, Effect.succeed(Effect.succeed(answers[i]!)))
        }
      },
      onFailure: () => {
        for (const { answer, item } of all) Deferred.unsafeDone(answer, Effect.succeed(alone(item)))
      }
    })
  }

  const next: Effect.Effect<void> = Effect.suspend(() => {
    if (flight !== undefined || waiting.length === 0) return Effect.void
    const mine = flight = {}
    const leave = Effect.suspend(() => {
      if (flight !== mine) return Effect.void
      flight = undefined
      return next
    })
    const fly = Effect.gen(function*() {
      // those who were woken by the same thing get the chance to join
      yield* Effect.yieldNow()
      yield* Effect.fork(Effect.delay(leave, patience))
      yield* answering(waiting.splice(0, maxItems))
    })
    // whose fiber it begins in has nothing to do with the others: not even that it must not be interrupted
    return Effect.forkDaemon(Effect.interruptible(Effect.ensuring(fly, leave)))
  })

  return (item) =>
    Effect.uninterruptibleMask((restore) => {
      const request: Request<A, B, E> = { item, answer: Deferred.unsafeMake(FiberId.none) }
      waiting.push(request)
      const withdraw = Effect.suspend(() => {
        const index = waiting.indexOf(request)
        return index >= 0 ? Effect.sync(() => void waiting.splice(index, 1)) : settled(Deferred.await(request.answer))
      })
      const answered = Effect.onInterrupt(restore(Deferred.await(request.answer)), () => withdraw)
      return Effect.zipRight(next, Effect.flatMap(answered, restore))
    })
}
