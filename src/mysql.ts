/**
 * The stream on MySQL or MariaDB, with `@effect/sql-mysql2`.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type { ConfigError } from "effect/ConfigError"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as EventStream from "./layers/EventStream.js"

/**
 * A client for a `mysql://` URL, as the examples and the `evt` command use it. It keeps its connections:
 * @effect/sql-mysql2 on its own drops idle ones unless `poolConfig` says otherwise, and ignores `poolConfig` where it
 * is given a URL.
 *
 * @since 0.1.0
 * @category clients
 */
export const client = (
  url: string,
  options: { readonly maxConnections?: number | undefined } = {}
): Layer.Layer<MysqlClient.MysqlClient | SqlClient.SqlClient, ConfigError | SqlError> => {
  const { hostname, password, pathname, port, username } = new URL(url)
  const maxConnections = options.maxConnections ?? 10
  return MysqlClient.layer({
    host: hostname,
    port: port === "" ? 3306 : Number(port),
    username: decodeURIComponent(username),
    ...(password === "" ? {} : { password: Redacted.make(decodeURIComponent(password)) }),
    database: decodeURIComponent(pathname.slice(1)),
    maxConnections,
    poolConfig: { maxIdle: maxConnections, charset: "utf8mb4" }
  })
}

/**
 * `EventStream.layer` on the `MysqlClient` in the context.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <O extends EventStream.Options = {}>(
  options?: O
): Layer.Layer<EventStream.ServicesOf<O>, EventStream.OpenError, SqlClient.SqlClient> => EventStream.layer(options)
