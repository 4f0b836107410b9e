/**
 * Waiting while there is nothing to do: pauses by a schedule that starts again when something was found, cut short by a
 * hint. A hint that comes while nobody waits is kept for the next pause.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

export interface Idle {
  /** Wakes who is in `pause`, or makes the next `pause` return at once. */
  readonly hint: () => void
  /** Something was found: the next pause is the schedule's first. */
  readonly busy: Effect.Effect<void>
  readonly pause: Effect.Effect<void>
}

/** 2 ms while events flow, doubling to 1 s. */
export const defaultSchedule: Schedule.Schedule<unknown, unknown> = Schedule.delayed(
  Schedule.exponential("2 millis"),
  Duration.min("1 second")
)

export const make = (schedule: Schedule.Schedule<unknown, unknown> = defaultSchedule): Effect.Effect<Idle> =>
  Effect.gen(function*() {
    const driver = yield* Schedule.driver(schedule)
    const hinted = yield* Effect.makeLatch(false)
    const sleep = Effect.catchAll(driver.next(undefined), () => driver.reset)
    return {
      hint: () => hinted.unsafeOpen(),
      busy: driver.reset,
      pause: Effect.zipRight(Effect.raceFirst(sleep, hinted.await), hinted.close)
    }
  })
