/**
 * Group commit: what concurrent callers want to write is collected while the last batch is on its way, and written
 * together. One batch is in flight at a time.
 *
 * - A caller that is interrupted before its batch is taken is withdrawn: nothing of it is written.
 * - A batch that fails is split, so that one caller's data fails that caller alone.
 * - When the scope closes, what was accepted is written first.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { settled } from "../internal/finishing.js"

export interface Options<A, B, E> {
  /** Writes the items of a batch; answers in order. */
  readonly write: (items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<B>, E>
  readonly size: (item: A) => number
  readonly maxItems: number
  readonly maxSize: number
  /** Whether a smaller batch may succeed where this failed. */
  readonly splittable: (error: E) => boolean
  /** What the callers of a failed batch are told; `items` are those of the one caller. */
  readonly errorFor: (error: E, items: ReadonlyArray<A>) => E
  /** What callers are told after the end. */
  readonly closed: () => E
}

interface Request<A, B, E> {
  readonly items: ReadonlyArray<A>
  readonly size: number
  readonly answer: Deferred.Deferred<ReadonlyArray<B>, E>
  taken: boolean
}

export const make = <A, B, E>(
  options: Options<A, B, E>
): Effect.Effect<(items: ReadonlyArray<A>) => Effect.Effect<ReadonlyArray<B>, E>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const waiting: Array<Request<A, B, E>> = []
    const some = yield* Effect.makeLatch(false)
    let open = true

    const take = (): Array<Request<A, B, E>> => {
      let items = 0
      let size = 0
      let count = 0
      for (const request of waiting) {
        if (count > 0 && (items + request.items.length > options.maxItems || size + request.size > options.maxSize)) {
          break
        }
        items += request.items.length
        size += request.size
        request.taken = true
        count++
      }
      return waiting.splice(0, count)
    }

    const write = (batch: ReadonlyArray<Request<A, B, E>>): Effect.Effect<void> =>
      options.write(batch.flatMap((request) => request.items)).pipe(
        Effect.matchCauseEffect({
          onSuccess: (answers) => {
            let from = 0
            for (const { answer, items } of batch) {
              Deferred.unsafeDone(answer, Effect.succeed(answers.slice(from, from += items.length)))
            }
            return Effect.void
          },
          onFailure: (cause) => {
            const failed = cause._tag === "Fail" ? cause.error : undefined
            if (failed !== undefined && batch.length > 1 && options.splittable(failed)) {
              const half = batch.length >> 1
              return Effect.zipRight(write(batch.slice(0, half)), write(batch.slice(half)))
            }
            for (const { answer, items } of batch) {
              Deferred.unsafeDone(
                answer,
                failed === undefined ? Effect.failCause(cause) : Effect.fail(options.errorFor(failed, items))
              )
            }
            return Effect.void
          }
        })
      )

    const worker = yield* Effect.forkDaemon(
      Effect.gen(function*() {
        while (open || waiting.length > 0) {
          if (waiting.length === 0) {
            yield* some.close
            yield* some.await
          }
          // those that were woken by the last answer get the chance to join
          yield* Effect.yieldNow()
          if (waiting.length > 0) yield* write(take())
        }
      })
    )
    yield* Effect.addFinalizer(() => {
      open = false
      some.unsafeOpen()
      return Fiber.join(worker)
    })

    return (items) =>
      Effect.suspend(() => {
        if (!open) return Effect.fail(options.closed())
        const request: Request<A, B, E> = {
          items,
          size: items.reduce((sum, item) => sum + options.size(item), 0),
          answer: Deferred.unsafeMake(worker.id()),
          taken: false
        }
        waiting.push(request)
        some.unsafeOpen()
        return Effect.onInterrupt(Deferred.await(request.answer), () => {
          if (request.taken) return settled(Deferred.await(request.answer))
          waiting.splice(waiting.indexOf(request), 1)
          return Effect.void
        })
      })
  })
