/**
 * The stream on PostgreSQL, with `@effect/sql-pg`.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as EventStream from "./layers/EventStream.js"
import * as Notify from "./layers/notify.js"

/**
 * A client for a `postgres://` URL, as the examples and the `evt` command use it. Any other `PgClient` will do: give it
 * at least 4 connections, one for each of a transaction, the sequencer, a poll and the wake-ups.
 *
 * @since 0.1.0
 * @category clients
 */
export const client = (
  url: string,
  options: { readonly maxConnections?: number | undefined } = {}
): Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, SqlError> =>
  PgClient.layer({ url: Redacted.make(url), maxConnections: options.maxConnections ?? 10 })

/**
 * The options of a stream on PostgreSQL, for `EventStream.make`, `EventStream.layer` and named streams: other processes
 * are woken by NOTIFY after a commit, and are listened to on a connection that is kept from the client's pool. Without it,
 * where the pool has fewer than 4 connections, or where notifications do not arrive (a pooler in transaction mode), the commits of other processes are found by polling.
 *
 * @since 0.1.0
 * @category options
 */
export const options = (
  options: EventStream.Options = {}
): Effect.Effect<EventStream.Options, never, PgClient.PgClient> =>
  Effect.map(
    PgClient.PgClient,
    (client) => (client.config.maxConnections ?? 10) < fewest ? options : { ...options, wakeUps: Notify.make(client) }
  )

/** A pool with fewer has none to spare for listening. */
const fewest = 4

/**
 * `EventStream.layer` on the `PgClient` in the context, with wake-ups between processes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <O extends EventStream.Options = {}>(
  layerOptions?: O
): Layer.Layer<EventStream.ServicesOf<O>, EventStream.OpenError, PgClient.PgClient | SqlClient.SqlClient> =>
  Layer.unwrapEffect(Effect.map(options(layerOptions), (options) => EventStream.layer(options as O)))
