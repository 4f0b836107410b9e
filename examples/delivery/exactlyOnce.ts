import { SqlClient } from "@effect/sql"
import { Effect } from "effect"
import { Pusher } from "effect-eventstream"
import { UserAdded } from "./events.js"

export const directory = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const pusher = yield* Pusher.Pusher
  yield* pusher.run(
    "DIRECTORY",
    (event) =>
      event._tag === "Known"
        // commits together with the cursor, or not at all
        ? sql`INSERT INTO directory (email) VALUES (${event.data.email})`
        : Effect.void,
    { want: [UserAdded], register: { from: "beginning" }, exactlyOnce: true, limit: 100 }
  )
})
