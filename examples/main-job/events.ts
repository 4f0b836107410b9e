import * as Schema from "effect/Schema"
import { EventType } from "../../src/index.js"

export const AccountChanged = EventType.make(
  "ACCOUNT_CHANGED",
  Schema.Struct({ account: Schema.Int, version: Schema.Int, transaction: Schema.Int }),
  { key: ({ account }) => `account-${account}` }
)

export const NoteAdded = EventType.make("NOTE_ADDED", Schema.Struct({ transaction: Schema.Int, text: Schema.String }))

export const all = EventType.catalog(AccountChanged, NoteAdded)
