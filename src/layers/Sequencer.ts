/**
 * Sequencing in the background: a fiber of the layer's scope that moves what is committed, at once when it is told of a
 * commit in this process, else by a schedule (2 ms while events flow, doubling to 1 s). Any number of processes may run
 * one; whoever has the head moves, the others go on. Idle checks write nothing.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { StoreError } from "../EventStreamError.js"
import type { Service as EventStore } from "../services/EventStore.js"
import type { Service } from "../services/Sequencer.js"
import * as Idle from "../streams/Idle.js"

/** How many events one statement moves at most. */
export const batchSize = 2000

const shortestRest = Duration.millis(2)
const longestRest = Duration.millis(50)

/** Sequences until nothing is left that was committed before; `moved` is -1 if another one was at it. */
const drain = (
  store: EventStore
): Effect.Effect<{ readonly moved: number; readonly head: bigint }, StoreError> => {
  const loop = (moved: number): ReturnType<typeof drain> =>
    Effect.flatMap(
      store.sequence(batchSize),
      ({ head, taken }) =>
        taken >= batchSize
          ? loop(moved + taken)
          : Effect.succeed({ moved: taken < 0 && moved === 0 ? -1 : moved + Math.max(taken, 0), head })
    )
  return loop(0)
}

export const make = (store: EventStore): Service => ({
  run: store.outside("Sequencer.run", Effect.map(drain(store), ({ moved }) => Math.max(moved, 0)))
})

/**
 * What the background sequencer has seen, so that nobody else in the process has to ask the database the same. It is
 * only ever a number of its own look: whoever rests on it makes sure that it is not too old.
 */
export interface Looks {
  /** How many looks have been answered, and the last id given at the last one. */
  readonly last: () => { readonly count: number; readonly head: bigint }
  /** Whether one is on its way. */
  readonly isLooking: () => boolean
  /** Waits for the next answer. */
  readonly next: Effect.Effect<void>
  /** Calls `listener` when a look found ids that others have given. */
  readonly onGrown: (listener: () => void) => void
}

/**
 * Runs in the background until the scope closes. Survives every failure of the database. Undefined where nothing needs
 * to sequence.
 */
export const background = (
  store: EventStore,
  idleSchedule: Schedule.Schedule<unknown, unknown> | undefined
): Effect.Effect<Looks | undefined, never, Scope.Scope> =>
  Effect.gen(function*() {
    if (!store.sequenced) return undefined
    const idle = yield* Idle.make(idleSchedule)
    yield* store.hints(idle.hint)
    let last = { count: 0, head: 0n }
    const answered = yield* Effect.makeLatch(false)
    let looking = false
    let onGrown = () => {}
    let failing = false
    const step = Effect.gen(function*() {
      looking = true
      const [took, { head, moved }] = yield* Effect.timed(drain(store))
      looking = false
      const grown = head > last.head
      last = { count: last.count + 1, head }
      yield* answered.release
      // what was moved here is told to all below
      if (grown && moved <= 0) onGrown()
      if (failing) {
        failing = false
        yield* Effect.logInfo("The sequencer works again")
      }
      if (moved === 0) return yield* idle.pause
      if (moved > 0) store.hint("here")
      // While events flow a step rests as long as it took, so that it finds a batch: a step for each commit would cost the
      // writers more than it gives the readers.
      yield* idle.busy
      yield* Effect.sleep(Duration.clamp(took, { minimum: shortestRest, maximum: longestRest }))
    })
    const survive = Effect.catchAllCause(step, (cause) => {
      if (Cause.isInterruptedOnly(cause)) return Effect.failCause(cause)
      looking = false
      const said = failing
      failing = true
      return Effect.zipRight(
        said ? Effect.void : Effect.logWarning("The sequencer cannot work, it will try again", cause),
        Effect.sleep("250 millis")
      )
    })
    yield* Effect.forkScoped(Effect.forever(survive))
    return {
      last: () => last,
      isLooking: () => looking,
      next: answered.await,
      onGrown: (listener) => {
        onGrown = listener
      }
    }
  })
