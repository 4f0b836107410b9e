/**
 * The words in which the dialects differ where whole statements are the same but for them: those are written once.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
import type { Start } from "../../services/EventStore.js"
import type { Rows } from "./Database.js"

export interface Words {
  /** Any text as a literal. */
  readonly text: (value: string) => string
  /** An expression as text. */
  readonly asText: (expression: string) => string
  /** How many bytes of UTF-8 a text or JSON column has. */
  readonly bytes: (column: string) => string
  /** A time as milliseconds since 1970, as text. */
  readonly millis: (column: string) => string
  /** Milliseconds since 1970 as a time. */
  readonly time: (millis: string) => string
  readonly clock: string
  /** The same as a number, milliseconds since 1970. */
  readonly now: string
  readonly concat: (...texts: ReadonlyArray<string>) => string
  /** The larger of two numbers. */
  readonly greatest: (a: string, b: string) => string
  /** The smaller of two numbers. */
  readonly least: (a: string, b: string) => string
  /** What locks the rows of a SELECT. */
  readonly locking: string
  /** The same where somebody else has one of them: fails instead of waiting. */
  readonly nowait: string
  /** After a table's name: its rows are found by the primary key, and no other ones are looked at, or locked. */
  readonly byKey: string
  /** A text as something that is equal only to itself. */
  readonly exact: (expression: string) => string
  /** Begins what an INSERT does with a row that is there already. */
  readonly upsert: (key: string) => string
  /** Takes the lock that registrations, resets and discards have in common; nothing where the write lock is that. */
  readonly gate: ReadonlyArray<string>
  /** The last id given, as an expression. */
  readonly head: string
  /** Leaves out ids: the last one given becomes the larger of it and `atLeast`, plus `jump`. */
  readonly leaveOut: (atLeast: bigint, jump: bigint) => ReadonlyArray<string>
  /** The cursor of who starts there, as an expression. */
  readonly start: (from: Start) => string
}

/** A condition on the key of an event; on MySQL keys that differ by trailing spaces are not the same, either. */
export const keyIs = ({ exact, text }: Words, key: string): string => `${exact("event_key")} = ${exact(text(key))}`

/** Runs statements as one transaction; the rows of each. */
export type Transact = (
  conn: Connection,
  texts: ReadonlyArray<string>
) => Effect.Effect<ReadonlyArray<Rows>, SqlError>
