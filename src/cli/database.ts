/**
 * The stream and the history that the environment names. Only the driver that is needed is loaded.
 *
 * - `DATABASE_URL`: `postgres://…`, `mysql://…`, `mariadb://…`, `sqlite:path` or a path
 * - `EVT_PREFIX`, `EVT_SCHEMA`: as the stream's options
 * - `EVT_HISTORY_URL`: where archived events are, in the same forms
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as EventStream from "../layers/EventStream.js"
import type { StoreError } from "../EventStreamError.js"
import type { Source } from "../layers/archive/source.js"
import * as History from "../layers/History.js"
import type { Service as Archiver } from "../services/Archiver.js"
import { Actor } from "../services/Consumers.js"
import type { Service as HistoryService } from "../services/History.js"
import { Unreachable, Usage } from "./CliError.js"
import { load, variable } from "./environment.js"
import * as Remote from "./remote.js"

type Client = Layer.Layer<SqlClient.SqlClient, unknown>

interface Driver {
  readonly client: Client
  /** Adds what this database has of its own: wake-ups, a second connection for reads. */
  readonly options: (
    options: EventStream.Options
  ) => Effect.Effect<EventStream.Options, EventStream.OpenError, SqlClient.SqlClient>
}

export interface Database extends EventStream.Service {
  /** Undefined without `EVT_HISTORY_URL`. */
  readonly archive: { readonly archiver: Archiver; readonly history: HistoryService } | undefined
}

export class Stream extends Context.Tag("effect-eventstream/cli/Stream")<Stream, Database>() {}

const environment = () => ({
  prefix: variable("EVT_PREFIX"),
  schema: variable("EVT_SCHEMA")
})

const url = (name: string): Effect.Effect<string, Usage> =>
  Effect.suspend(() => {
    const value = variable(name)
    return value === undefined
      ? Effect.fail(
        new Usage({
          message: `${name} is not set: give it postgres://…, mysql://…, mariadb://…, sqlite:path or a path`
        })
      )
      : Effect.succeed(value)
  })

/** Whether a file that is not there is made. */
type Missing = "make" | "refuse"

const driverOf = (name: string, missing: Missing): Effect.Effect<Driver, Usage | Unreachable> =>
  Effect.gen(function*() {
    const text = yield* url(name)
    const scheme = /^([a-z][a-z0-9+]+):\/\//i.exec(text)?.[1]?.toLowerCase()
    if (scheme !== undefined && !["sqlite", "file"].includes(scheme) && !URL.canParse(text)) {
      return yield* new Usage({ message: `${name} is not a URL` })
    }
    const connections = { maxConnections: 5 }
    switch (scheme) {
      case "postgres":
      case "postgresql": {
        const Pg = yield* load(() => import("../pg.js"), "@effect/sql-pg")
        return {
          client: Pg.client(text, connections),
          options: Pg.options as unknown as Driver["options"]
        }
      }
      case "mysql":
      case "mariadb": {
        const Mysql = yield* load(() => import("../mysql.js"), "@effect/sql-mysql2")
        return {
          client: Mysql.client(text.replace(/^mariadb:/i, "mysql:"), connections),
          options: Effect.succeed
        }
      }
      case undefined:
      case "sqlite":
      case "file": {
        const file = text.replace(/^(sqlite|file):(\/\/)?/, "")
        if (missing === "refuse" && !Fs.existsSync(file)) {
          return yield* new Unreachable({ message: `${name}: there is no file ${file} (evt migrate makes one)` })
        }
        const Sqlite = yield* load(() => import("../sqlite.js"), "@effect/sql-sqlite-node")
        return {
          client: Sqlite.client(file),
          options: Sqlite.options as unknown as Driver["options"]
        }
      }
      default:
        return yield* new Usage({ message: `${name}: ${scheme}:// is no database that is known here` })
    }
  })

/** A client that cannot be made is said as one error, whatever the driver does then (better-sqlite3 throws). */
const opening = (name: string, client: Client): Layer.Layer<SqlClient.SqlClient, Unreachable> =>
  Layer.catchAllCause(client, (cause) =>
    Layer.fail(
      new Unreachable({ message: `${name}: cannot open the database: ${wordsOf(Cause.squash(cause))}`, cause })
    ))

const wordsOf = (error: unknown): string => {
  let found = ""
  for (let e = error, depth = 0; e instanceof Error && depth < 6; e = e.cause, depth++) {
    const inner = e instanceof AggregateError ? e.errors[0] : e
    const code = (inner as { readonly code?: unknown }).code
    found = inner.message || (typeof code === "string" ? code : found)
  }
  return found || String(error)
}

const historyOptions = (missing: Missing): Effect.Effect<History.Options, Usage | Unreachable> =>
  Effect.map(driverOf("EVT_HISTORY_URL", missing), ({ client }) => ({ client, prefix: environment().prefix }))

export type Needs = {
  /** Whether it waits for new events, and so gives them their ids. */
  readonly sequencer?: "on" | "off"
  readonly archiver?: EventStream.Options["archiver"]
  readonly discarder?: EventStream.Options["discarder"]
}

type OpenError = EventStream.OpenError | Usage | Unreachable

export const layer = (needs: Needs = {}): Layer.Layer<Stream, OpenError> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    const driver = yield* driverOf("DATABASE_URL", "refuse")
    const history = variable("EVT_HISTORY_URL") === undefined ? undefined : yield* historyOptions("refuse")
    const make = Effect.gen(function*() {
      const options = yield* driver.options({
        ...environment(),
        ...(needs.sequencer === "on" ? {} : { sequencer: "off" as const }),
        archiver: needs.archiver,
        discarder: needs.discarder
      })
      const service = yield* EventStream.make({ ...options, history })
      const { archiver, history: archived } = service
      return {
        ...service,
        archive: archiver === undefined || archived === undefined ? undefined : { archiver, history: archived }
      }
    })
    return Layer.scoped(Stream, make).pipe(Layer.provide(opening("DATABASE_URL", driver.client)))
  }))

/** The history alone. */
export const history: Effect.Effect<
  Layer.Layer<Layer.Layer.Success<ReturnType<typeof History.layer>>, OpenError>,
  OpenError
> = Effect.map(historyOptions("refuse"), History.layer)

/** Makes or updates the tables, of the history too if there is one; what was migrated. */
export const migrate: Effect.Effect<ReadonlyArray<string>, OpenError> = Effect.gen(function*() {
  yield* local
  const driver = yield* driverOf("DATABASE_URL", "make")
  const history = variable("EVT_HISTORY_URL") === undefined ? undefined : yield* historyOptions("make")
  yield* Effect.provide(EventStream.migrate({ ...environment(), history }), opening("DATABASE_URL", driver.client))
  return history === undefined ? ["stream"] : ["stream", "history"]
})

/** What was meant for a server is not done to a database. */
const local = Effect.suspend(() =>
  variable("EVT_URL") === undefined
    ? Effect.void
    : new Usage({ message: "this command needs the database itself: say DATABASE_URL, and no EVT_URL (--url)" })
)

const user = (): string => {
  try {
    return Os.userInfo().username
  } catch {
    return "unknown"
  }
}

/** What an administrator does is recorded as `evt:<user of the operating system>`. */
export const actor = Effect.sync(() => `evt:${user()}`.slice(0, 255))

/** What a stream has wherever it is. */
export interface Services extends Pick<EventStream.Service, "generator" | "poller" | "pusher" | "consumers"> {
  /** What else may be asked about the log. */
  readonly source: Effect.Effect<Source, StoreError>
}

/** Runs with the stream that is served at `EVT_URL`, or that of the database. */
export const withServices = <A, E, R>(
  f: (services: Services) => Effect.Effect<A, E, R>,
  needs?: Needs
): Effect.Effect<A, E | OpenError, R> =>
  Effect.suspend(() => {
    const url = variable("EVT_URL")
    return url === undefined
      ? withStream((stream) => f({ ...stream, source: Effect.succeed(stream.core.source) }), needs)
      : Remote.told(Effect.scoped(Effect.flatMap(Remote.open(url), f))) as Effect.Effect<A, E | OpenError, R>
  })

/** Runs with the stream of the database: what no server does. */
export const withStream = <A, E, R>(
  f: (stream: Database) => Effect.Effect<A, E, R>,
  needs?: Needs
): Effect.Effect<A, E | OpenError, R> =>
  Effect.flatMap(
    Effect.zipRight(local, actor),
    (who) => Effect.provide(Effect.flatMap(Stream, f), layer(needs)).pipe(Effect.provideService(Actor, who))
  ) as Effect.Effect<
    A,
    E | OpenError,
    R
  >
