import { Layer, Schema } from "effect"
import { EventType } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

// the key says what must stay in order: all that happens to one account
export const Booked = EventType.make("BOOKED", Schema.Struct({ account: Schema.String, n: Schema.Int }), {
  key: ({ account }) => account
})

// a short lease, so that the example need not wait 15 seconds for a process that was killed
export const Events = Sqlite.layer({ migrate: "auto", pusher: { leaseTtl: "2 seconds" } }).pipe(
  Layer.provideMerge(Sqlite.client("accounts.db"))
)
