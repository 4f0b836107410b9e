import { Effect, Redacted } from "effect"
import { Pusher } from "effect-eventstream"
import * as Rpc from "effect-eventstream/rpc"
import { UserAdded } from "./events.js"
import { port } from "./server.js"

const Remote = Rpc.layer({
  url: `ws://127.0.0.1:${port + 1}/rpc`,
  credentials: { user: "mail", password: Redacted.make("mail-secret") }
})

// as it would be beside the database: only the layer differs
export const mailer = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.run(
    "MAILER",
    (event) => event._tag === "Known" ? Effect.log(`welcome, ${event.data.email}`) : Effect.void,
    { want: [UserAdded], register: { from: "beginning" } }
  )
}).pipe(Effect.provide(Remote))
