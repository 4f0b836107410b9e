/** How far long work is: a bar on a terminal, else a plain line now and then when it has changed; always to standard error. */
import * as Effect from "effect/Effect"

/** Milliseconds between lines where there is no terminal. */
const pause = 1000
const width = 30

export interface Progress {
  readonly show: (done: number, total: number, text: string) => Effect.Effect<void>
  /** The line of the bar is given back. */
  readonly end: Effect.Effect<void>
}

/** Runs `work`, and looks at it twice a second. */
export const during = <A, E, R, E2, R2>(
  work: Effect.Effect<A, E, R>,
  bar: Progress,
  look: Effect.Effect<void, E2, R2>
): Effect.Effect<A, E, R | R2> =>
  Effect.raceFirst(work, Effect.forever(Effect.delay(Effect.ignore(look), "500 millis"))).pipe(
    Effect.ensuring(bar.end)
  )

export const make: Effect.Effect<Progress> = Effect.sync(() => {
  const terminal = process.stderr.isTTY === true
  let shownAt = 0
  let said = ""
  return {
    show: (done, total, text) =>
      Effect.sync(() => {
        const part = total <= 0 ? 1 : Math.min(1, Math.max(0, done / total))
        if (terminal) {
          const full = Math.round(part * width)
          process.stderr.write(`\r\u001b[K[${"#".repeat(full)}${"-".repeat(width - full)}] ${text}`)
          shownAt = 1
        } else if (text !== said && Date.now() - shownAt >= pause) {
          said = text
          shownAt = Date.now()
          process.stderr.write(`${text}\n`)
        }
      }),
    end: Effect.sync(() => {
      if (terminal && shownAt > 0) process.stderr.write("\r\u001b[K")
    })
  }
})
