import { Effect } from "effect"
import { Pusher } from "effect-eventstream"
import { UserAdded } from "./events.js"

// a tool that must not wait behind a running service, and must not disturb it
export const once = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.run("MAILER", () => Effect.void, { want: [UserAdded], whenBusy: "fail" })
}).pipe(Effect.catchTag("ConsumerBusy", ({ consumer }) => Effect.log(`${consumer} is at work elsewhere`)))
