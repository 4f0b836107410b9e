import { Layer, Schema } from "effect"
import { EventType } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

// what happens in this system; the key says what an event is about
export const UserAdded = EventType.make("USR_ADD", Schema.Struct({ id: Schema.Int, email: Schema.String }), {
  key: ({ id }) => String(id)
})

// where it happens
export const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provideMerge(Sqlite.client("users.db")))
