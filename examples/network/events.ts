import { Layer, Schema } from "effect"
import { EventType } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

// shared by the server and its clients
export const UserAdded = EventType.make("USR_ADD", Schema.Struct({ id: Schema.Int, email: Schema.String }))

// the server's alone
export const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provideMerge(Sqlite.client("users.db")))
