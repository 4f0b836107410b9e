/**
 * What one kind of database has to be able to do. `postgres.ts`, `mysql.ts` and `sqlite.ts` implement it with the same
 * names in the same order: to compare two, diff them.
 *
 * Literals are written into the texts of our own packets: they are numbers, names that were checked against a pattern,
 * or go through `quote`. One packet = one round trip: no lock is ever held while a client has the next move.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import type * as Effect from "effect/Effect"
import type { NewEvent, StoredEvent } from "../../Event.js"
import type { EventId } from "../../EventId.js"
import { component } from "../../services/Archiver.js"
import type {
  Claim,
  ClaimRequest,
  DeadLetter,
  Isolation,
  Lease,
  Look,
  Part,
  Registration,
  Sequenced,
  Start,
  Step,
  Stepped
} from "../../services/EventStore.js"
import type { AdministrationStatements } from "./administration.js"
import type { DiscardStatements } from "./discard.js"
import type { LetterStatements } from "./letters.js"
import type { GroupStatements } from "./groups.js"
import type { Names } from "./names.js"
import type { Place } from "./place.js"
import type { RetentionStatements } from "./retention.js"
import type { StepsStatements } from "./steps.js"
import type { VitalsStatements } from "./vitals.js"
import type { Transact, Words } from "./words.js"

type Run<A> = Effect.Effect<A, SqlError>

/** What `emit` learned: whether the row went in, and what tells later whether its transaction committed. */
export interface Emitted {
  readonly stored: boolean
  /** Of the first event; undefined where no witness is needed. */
  readonly token: string | undefined
}

/** The cursor of a registration; undefined if there is none, because what it asked for was discarded up to there. */
export interface Registered {
  readonly cursor: bigint | undefined
  readonly discardedTo: bigint
}

/** The row of `register`, as every dialect selects it: integers as text. */
export const toRegistered = (row: Record<string, string | null>): Registered => ({
  cursor: row.cursor_id === null ? undefined : BigInt(row.cursor_id!),
  discardedTo: BigInt(row.discarded_to!)
})

/** Where events are that were looked for by uid: an id if sequenced, null if committed and waiting in the queue. */
export type Found = ReadonlyMap<string, EventId | null>

export interface Dialect
  extends
    LetterStatements,
    RetentionStatements,
    AdministrationStatements,
    DiscardStatements,
    VitalsStatements,
    GroupStatements,
    StepsStatements
{
  readonly name: "postgres" | "mysql" | "sqlite"
  /** False where the write lock gives ids in commit order by itself. */
  readonly sequenced: boolean
  readonly words: Words
  /** Statements that write, as one transaction. */
  readonly transact: Transact
  /** Statements that only read; pages are read along an index. */
  readonly inspect: Transact

  // the caller's transaction
  readonly begin: (conn: Connection, isolation: Isolation | undefined) => Run<void>
  /** False: there was nothing to commit any more, the database had rolled the transaction back. */
  readonly commit: (conn: Connection) => Run<boolean>
  readonly rollback: (conn: Connection) => Run<void>
  readonly emit: (conn: Connection, events: ReadonlyArray<NewEvent>) => Run<Emitted>
  readonly statement: (
    events: ReadonlyArray<NewEvent>
  ) => { readonly sql: string; readonly params: ReadonlyArray<unknown> }
  /** What became of a transaction whose COMMIT was not answered. */
  readonly outcome: (
    conn: Connection,
    witness: { readonly token: string; readonly uid: string }
  ) => Run<"committed" | "rolledBack" | "pending">

  // transactions of our own, one packet each
  readonly sequence: (conn: Connection, limit: number) => Run<Sequenced>
  /** The ids, in order; null where the event went to the queue because older ones were still waiting there. */
  readonly append: (
    conn: Connection,
    events: ReadonlyArray<NewEvent>,
    options: { readonly limit: number; readonly deadline: number }
  ) => Run<ReadonlyArray<EventId | null>>
  /** Looks above id `since`; `locked` waits for every append that is at it. */
  readonly find: (
    conn: Connection,
    uids: ReadonlyArray<string>,
    options: { readonly since: bigint; readonly locked: boolean }
  ) => Run<Found>
  readonly findByDedupeKey: (conn: Connection, keys: ReadonlyArray<string>) => Run<ReadonlyMap<string, EventId>>
  /** The database's clock, milliseconds since 1970. */
  readonly now: (conn: Connection) => Run<number>
  readonly look: (
    conn: Connection,
    options: { readonly ident: string | undefined; readonly after: bigint; readonly window: number }
  ) => Run<Look>
  readonly page: (
    conn: Connection,
    options: {
      readonly after: bigint
      readonly upTo: bigint | undefined
      readonly types: ReadonlyArray<string> | undefined
      readonly partition?: Part | undefined
      readonly limit: number
    }
  ) => Run<ReadonlyArray<StoredEvent>>
  /** What a reading connection sees change whenever another one commits, without reading a table. */
  readonly changes: ((conn: Connection) => Run<unknown>) | undefined
  /** Decided under the gate: where `from` is before what was discarded, nothing is registered. */
  readonly register: (conn: Connection, registration: Registration) => Run<Registered>
  readonly unregister: (conn: Connection, ident: string) => Run<boolean>
  readonly acknowledge: (conn: Connection, ident: string, upTo: bigint) => Run<void>
  readonly claim: (conn: Connection, request: ClaimRequest) => Run<Claim>
  readonly renew: (conn: Connection, leases: ReadonlyArray<Lease>, ttl: number) => Run<ReadonlyArray<Lease>>
  readonly release: (conn: Connection, leases: ReadonlyArray<Lease>) => Run<void>
  readonly step: (conn: Connection, step: Step) => Run<Stepped>
  /** The same in the transaction that the connection is in. */
  readonly stepWithin: (conn: Connection, step: Step) => Run<Stepped>
}

/** Above every id. */
export const aboveAll = "9223372036854775807"

/** How the ident of an archiver ends. */
export const archiverEnd = `:${component}`

/** Whether a consumer's cursor says what is in a history. */
export const archivers = (ident: string): boolean => ident.endsWith(archiverEnd)

/** The name of a consumer's lease. */
export const leaseName = (ident: string): string => `consumer:${ident}`

/** Condition on the table of leases. Names and owners were checked, or are UUIDs: nothing in them needs escaping. */
export const among = (leases: ReadonlyArray<Lease>): string => {
  const list = (texts: ReadonlyArray<string>) => texts.map((text) => `'${text}'`).join(", ")
  return `name IN (${list(leases.map(({ ident }) => leaseName(ident)))})
   AND owner IN (${list(leases.map(({ owner }) => owner))})`
}

/** The last row of `claim`, as every dialect selects it: of the consumer, and of the lease that it has now. */
export const toClaim = (row: Record<string, string | null> | undefined, owner: string, { partition }: Place): Claim =>
  row === undefined
    ? { _tag: "NotRegistered" }
    : partition === undefined && row.partitions !== "0"
    ? { _tag: "Partitioned", partitions: Number(row.partitions) }
    : row.paused !== null
    ? { _tag: "Paused", why: row.paused! }
    : row.owner === owner
    ? {
      _tag: "Claimed",
      epoch: BigInt(row.epoch!),
      cursor: BigInt(row.cursor_id!),
      partitions: Number(row.partitions)
    }
    : { _tag: "Busy", owner: row.owner ?? "", expiresIn: Math.max(0, Number(row.expires_in ?? 0)) }

/** Condition on the events of a partition. */
export const ofPartition = (partition: Part | undefined, alias: string): string =>
  partition === undefined ? "" : ` AND ${alias}.key_hash % ${partition.of} = ${partition.number}`

/** Rows of `renew`. */
export const toLeases = (rows: ReadonlyArray<any>): ReadonlyArray<Lease> =>
  rows.map(({ name, owner }) => ({ ident: String(name).slice(leaseName("").length), owner }))

/** What became of a step, by the consumer's row after it. */
export const toStepped = (row: Record<string, string> | undefined, { epoch }: Pick<Step, "epoch">): Stepped =>
  row === undefined ? "unregistered" : BigInt(row.epoch!) === epoch ? "done" : "fenced"

/**
 * The same of a step with dead letters: `missing`, the cursor was not moved because not all of them were stored, which
 * are copied out of the log.
 */
export const toTaken = (row: Record<string, string> | undefined, step: Step): Stepped | "missing" => {
  const stepped = toStepped(row, step)
  return stepped === "done" && step.deadLetters.length > 0 && BigInt(row!.cursor_id!) < step.upTo ? "missing" : stepped
}

/** Dead letters that differ by their event only: written by one statement. */
export const alike = (
  letters: ReadonlyArray<DeadLetter>
): ReadonlyArray<Omit<DeadLetter, "row"> & { readonly ids: ReadonlyArray<bigint> }> => {
  const groups = new Map<string, Omit<DeadLetter, "row"> & { readonly ids: Array<bigint> }>()
  for (const { row, ...rest } of letters) {
    const key = JSON.stringify(rest)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { ...rest, ids: [row.id] })
    else group.ids.push(row.id)
  }
  return [...groups.values()]
}

/** The columns of a dead letter of which all is known, for `toValues`. */
export const letterColumns = "ident, id, uid, type, event_key, key_hash, meta, data, ts, error, attempts, parked"

/** All but the ident, as parameters. */
export const toValues = ({ attempts, error, parked, row }: DeadLetter): ReadonlyArray<unknown> => [
  row.id,
  row.uid,
  row.type,
  row.key,
  row.keyHash,
  row.meta,
  row.data,
  row.ts,
  error,
  attempts,
  Number(parked)
]

/** A row of `look`, as every dialect selects it: integers as text. */
export const toLook = (row: Record<string, string | null>): Look => ({
  generation: Number(row.generation),
  head: BigInt(row.head ?? "0"),
  cursor: row.cursor_id === null ? undefined : BigInt(row.cursor_id!),
  bound: row.bound === null ? undefined : BigInt(row.bound!),
  paused: row.paused !== null,
  exclusive: row.exclusive === "1"
})

/** A row of `page`, as every dialect selects it: integers as text. */
export const toStored = (row: Record<string, string | null>): StoredEvent => ({
  id: BigInt(row.id!) as EventId,
  uid: row.uid!,
  type: row.type!,
  key: row.event_key!,
  keyHash: Number(row.key_hash),
  meta: row.meta!,
  data: row.data!,
  ts: Number(row.ts)
})

/** Rows of `findByDedupeKey`. */
export const toIdsByKey = (rows: ReadonlyArray<any>): ReadonlyMap<string, EventId> =>
  new Map(rows.map((row) => [row.dedupe_key, BigInt(row.id) as EventId]))

/** The last id that was discarded. A look for the first event begins there: dead rows below it are not walked over. */
export const discarded = (names: Names): string => `(SELECT r.discarded_to FROM ${names.retention} r)`

/** Condition of a registration after a given id. */
export const unlessDiscarded = (names: Names, from: Start): string =>
  typeof from === "object" && "after" in from
    ? ` FROM ${names.retention} d WHERE d.discarded_to <= ${from.after}`
    : ""

/** Events as one JSON document with short member names, for the statements that take many rows in one parameter. */
export const toDocument = (events: ReadonlyArray<NewEvent>): string =>
  JSON.stringify(
    events.map((e, n) => ({ n, u: e.uid, t: e.type, k: e.key, h: e.keyHash, m: e.meta, p: e.dedupeKey, d: e.data }))
  )

/** One event as the parameters of the single-row INSERT. */
export const toParams = (e: NewEvent): ReadonlyArray<unknown> => [
  e.uid,
  e.type,
  e.key,
  e.keyHash,
  e.meta,
  e.dedupeKey,
  e.data
]

/** How many rows of the queue one statement moves at most. */
export const moveLimit = 2000
