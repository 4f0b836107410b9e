/**
 * What a look at the health of the active area takes: positions, what waits in the queue, leases that ran out, and the
 * settings of the server that it depends on. Read without a lock.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Setting, Vitals } from "../../services/EventStore.js"
import { leaseName } from "./Dialect.js"
import type { Names } from "./names.js"
import type { Server } from "./settings.js"
import type { Transact, Words } from "./words.js"

type Run<A> = Effect.Effect<A, SqlError>

export interface VitalsStatements {
  readonly vitals: (conn: Connection) => Run<Vitals>
  readonly settings: (conn: Connection) => Run<ReadonlyArray<Setting>>
}

/** So many waiting events are counted: enough to see that nobody sequences. */
const countedAtMost = 10_000

/** The queue of a stream that needs none is an empty view. */
const nobodyWaits = "SELECT NULL AS ts WHERE 1 = 0"

export const make = (names: Names, words: Words, inspect: Transact, server: Server): VitalsStatements => {
  const { asText, clock, head, millis } = words
  const waiting = server.kind === "SQLite"
    ? nobodyWaits
    : `SELECT q.ts FROM ${names.queue} q ORDER BY q.raw_id LIMIT ${countedAtMost}`
  return {
    // no joins: tables without statistics are planned as large, and PostgreSQL would compile that by JIT at each call
    vitals: (conn) =>
      Effect.map(
        inspect(conn, [
          `SELECT (SELECT ${asText("generation")} FROM ${names.meta}) AS generation, ${asText(head)} AS head,
       (SELECT ${asText("discarded_to")} FROM ${names.retention}) AS discarded_to,
       (SELECT ${asText("MAX(id)")} FROM ${names.migrations}) AS schema_version,
       ${asText(server.version)} AS version, ${millis(clock)} AS now`,
          `SELECT ${asText("COUNT(*)")} AS n, ${millis("MIN(w.ts)")} AS oldest FROM (${waiting}) w`,
          `SELECT name, owner, ${millis("expires")} AS expires FROM ${names.leases}
 WHERE expires <= ${clock} AND owner <> '' ORDER BY name LIMIT 1000`
        ]),
        ([positions, queued, leases]): Vitals => {
          const [row] = positions!
          const [queue] = queued!
          return {
            kind: server.kind,
            version: row.version,
            schemaVersion: Number(row.schema_version),
            generation: Number(row.generation),
            now: Number(row.now),
            head: BigInt(row.head ?? 0),
            discardedTo: BigInt(row.discarded_to),
            unsequenced: {
              count: Number(queue.n),
              oldest: queue.oldest === null ? undefined : Number(queue.oldest)
            },
            expired: leases!.map((lease) => ({
              ident: String(lease.name).slice(leaseName("").length),
              owner: lease.owner,
              since: Number(lease.expires)
            }))
          }
        }
      ),

    settings: (conn) => Effect.map(inspect(conn, server.settings), server.judge)
  }
}
