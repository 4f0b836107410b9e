/**
 * The stream in an SQLite file, with `@effect/sql-sqlite-node`.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { StoreError } from "./EventStreamError.js"
import * as EventStream from "./layers/EventStream.js"

/**
 * A client for a file, as the examples and the `evt` command use it: `sqlite:path`, `file:path` or a path.
 *
 * @since 0.1.0
 * @category clients
 */
export const client = (
  url: string
): Layer.Layer<SqliteClient.SqliteClient | SqlClient.SqlClient, ConfigError> =>
  SqliteClient.layer({ filename: url.replace(/^(sqlite|file):(\/\/)?/, "") })

/**
 * The options of a stream on SQLite, for `EventStream.make`, `EventStream.layer` and named streams: reads get a second,
 * read-only connection to the client's file, so that an open write transaction never blocks them. Where that cannot be
 * (`:memory:`, a file that is not in WAL mode) reads use the client itself.
 *
 * @since 0.1.0
 * @category options
 */
export const options = (
  options: EventStream.Options = {}
): Effect.Effect<EventStream.Options, StoreError, SqliteClient.SqliteClient> =>
  Effect.gen(function*() {
    const client = yield* SqliteClient.SqliteClient
    const { filename } = client.config
    const [row] = yield* client.withoutTransforms().unsafe<{ journal_mode: string }>("PRAGMA journal_mode")
    const separate = filename !== "" && !filename.includes(":memory:") && row?.journal_mode === "wal"
    return separate ? { ...options, reader: reader(filename) } : options
  }).pipe(
    Effect.mapError((cause) => new StoreError({ operation: "open", reason: "other", retryable: false, cause }))
  )

/** Never waits inside the driver, which would freeze the process. */
const reader = (filename: string): Layer.Layer<SqlClient.SqlClient, unknown> =>
  SqliteClient.layer({ filename, readonly: true, disableWAL: true }).pipe(
    Layer.tap((context) => Context.get(context, SqlClient.SqlClient).unsafe("PRAGMA busy_timeout = 0"))
  )

/**
 * `EventStream.layer` on the `SqliteClient` in the context, with a connection of its own for reads.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <O extends EventStream.Options = {}>(
  layerOptions?: O
): Layer.Layer<EventStream.ServicesOf<O>, EventStream.OpenError, SqliteClient.SqliteClient | SqlClient.SqlClient> =>
  Layer.unwrapEffect(Effect.map(options(layerOptions), (options) => EventStream.layer(options as O)))
