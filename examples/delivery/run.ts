import { Effect } from "effect"
import { Pusher } from "effect-eventstream"
import { UserAdded } from "./events.js"

export const mailer = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.run(
    "MAILER",
    (event) => event._tag === "Known" ? Effect.log(`welcome, ${event.data.email}`) : Effect.void,
    { want: [UserAdded], register: { from: "beginning" } }
  )
})
