/**
 * The stream on PostgreSQL, with `@effect/sql-pg`.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as PgClient from "@effect/sql-pg/PgClient"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as EventStream from "./layers/EventStream.js"

/**
 * A client for a `postgres://` URL, as the examples and the `evt` command use it. Any other `PgClient` will do: give it
 * at least 3 connections, one for each of a transaction, the sequencer and a poll.
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
 * `EventStream.layer` on the `PgClient` in the context.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: EventStream.Options): ReturnType<typeof EventStream.layer> => EventStream.layer(options)
