import { Effect, Stream } from "effect"
import { Pusher } from "effect-eventstream"
import { UserAdded } from "./events.js"

export const screen = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.live([UserAdded], { buffer: 1000 }).pipe(
    Stream.runForEach((event) =>
      event._tag === "Gap"
        ? Effect.log(`${event.missed} events were skipped`)
        : event._tag === "Known"
        ? Effect.log(`now: ${event.data.email}`)
        : Effect.void
    )
  )
})
