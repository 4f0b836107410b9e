import { SqlClient } from "@effect/sql"
import { Effect } from "effect"
import { Pusher } from "effect-eventstream"
import { Booked } from "./events.js"

// each batch of a partition commits together with the partition's cursor: counted once, whoever dies when
export const balances = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const pusher = yield* Pusher.Pusher
  yield* pusher.run("BALANCES", {
    batch: (events) =>
      Effect.gen(function*() {
        for (const event of events) {
          if (event._tag !== "Known") continue
          yield* sql`INSERT INTO balances (account, bookings) VALUES (${event.data.account}, 1)
                     ON CONFLICT (account) DO UPDATE SET bookings = bookings + 1`
        }
      })
  }, { want: [Booked], register: { from: "beginning" }, partitions: 4, exactlyOnce: true, limit: 100 })
})
