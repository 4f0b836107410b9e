/**
 * All of it in one layer, from one options object. In the original: DBServiceApp.
 *
 * ```ts
 * const Events = EventStream.layer({ migrate: "auto" }).pipe(Layer.provide(PgClient.layer({ url })))
 * ```
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { InvalidOption, type SchemaMismatch, StoreError, type UnsupportedDatabase } from "../EventStreamError.js"
import * as ArchiverService from "../services/Archiver.js"
import * as ConsumersService from "../services/Consumers.js"
import * as DiscarderService from "../services/Discarder.js"
import type { Service as EventStore } from "../services/EventStore.js"
import * as HealthService from "../services/Health.js"
import * as GeneratorService from "../services/Generator.js"
import * as HistoryService from "../services/History.js"
import type { Service as HistoryStore } from "../services/HistoryStore.js"
import * as PollerService from "../services/Poller.js"
import * as PusherService from "../services/Pusher.js"
import * as SequencerService from "../services/Sequencer.js"
import { local, type Source } from "./archive/source.js"
import * as Archiver from "./Archiver.js"
import * as Consumers from "./Consumers.js"
import * as Discarder from "./Discarder.js"
import * as Generator from "./Generator.js"
import * as Health from "./Health.js"
import * as History from "./History.js"
import type { OpenLive } from "./live.js"
import * as Poller from "./Poller.js"
import * as Pusher from "./Pusher.js"
import * as Reader from "./reader.js"
import * as Sequencer from "./Sequencer.js"
import * as Store from "./sql/store.js"
import * as WakeUps from "./wakeUps.js"
import * as Shutdown from "../streams/Shutdown.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Prefix of the stream's tables, `^[a-z][a-z0-9_]{0,30}$`: several streams may live in one database. Default `evt_`. */
  readonly prefix?: string | undefined
  /** Schema (PostgreSQL) or database (MySQL) of the tables. Default: the current one of the client's connection. */
  readonly schema?: string | undefined
  /**
   * What happens when the tables are missing or old: `check` (default) fails with `SchemaMismatch`, `auto` creates and
   * updates them, for which the role needs the right to.
   */
  readonly migrate?: "auto" | "check" | undefined
  /** How many bytes of JSON an event may have, 1 to 4 194 304. Default 65 000, which FTN18 clients can carry. */
  readonly maxDataBytes?: number | undefined
  /** The background sequencer: `"off"` leaves the work to polls and to other processes. Default: on. */
  readonly sequencer?: "off" | {
    /** The pauses while nothing is to do. Default: 2 ms doubling to 1 s. */
    readonly idle?: Schedule.Schedule<unknown, unknown> | undefined
  } | undefined
  /**
   * Where archived events go: a database with a client of its own, never the one in the context. `prefix` and `migrate` are
   * the stream's unless they are said. Gives the services `Archiver` and `History`.
   */
  readonly history?: History.Options | undefined
  /** Archives in the background, or stands by while another process does: `{}` with a `history`. Default: off. */
  readonly archiver?: "off" | ArchiverService.Options | undefined
  /** Discards in the background: `{}`. Default: off. */
  readonly discarder?: "off" | DiscarderService.Options | undefined
  /**
   * How long the end of the layer waits for receivers to finish the batch that they have in hand; no new one is begun.
   * Default 10 seconds.
   */
  readonly shutdownTimeout?: Duration.DurationInput | undefined
  /** Delivery to subscribers. */
  readonly pusher?: {
    /** The pauses while nothing is new. Default: 2 ms doubling to 1 s. */
    readonly idle?: Schedule.Schedule<unknown, unknown> | undefined
    /**
     * How long a receiver that vanished keeps its consumer before another may take over; it is renewed after a third of
     * it. 1 to 3600 seconds, default 15.
     */
    readonly leaseTtl?: Duration.DurationInput | undefined
  } | undefined
  /**
   * A client of its own for reads; `effect-eventstream/sqlite` gives one, so that an open write transaction never
   * blocks readers of the same file.
   */
  readonly reader?: Layer.Layer<SqlClient.SqlClient, unknown> | undefined
  /**
   * Carries hints of commits between processes, so that nobody has to wait for the next poll; `effect-eventstream/pg`
   * gives one. Runs in the layer's scope and must survive the failures of what it rests on.
   */
  readonly wakeUps?: ((hub: Hub) => Effect.Effect<void, never, Scope.Scope>) | undefined
}

/**
 * Where hints of commits come from and go to.
 *
 * @since 0.1.0
 * @category models
 */
export type Hub = Pick<EventStore, "stream" | "hints" | "hint">

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** UUID of the stream, made with its tables. */
  readonly stream: string
  readonly generator: GeneratorService.Service
  readonly poller: PollerService.Service
  readonly pusher: PusherService.Service
  readonly sequencer: SequencerService.Service
  readonly consumers: ConsumersService.Service
  readonly discarder: DiscarderService.Service
  /** Undefined without the option `history`. */
  readonly archiver: ArchiverService.Service | undefined
  readonly history: HistoryService.Service | undefined
  readonly health: HealthService.Service
  /** @internal */
  readonly core: Core
}

/**
 * What this library's own servers and commands stand on.
 *
 * @internal
 */
export interface Core {
  readonly store: EventStore
  readonly reader: Reader.Reader
  readonly open: Pusher.Open
  readonly openLive: OpenLive
  readonly source: Source
  readonly historyStore: HistoryStore | undefined
  readonly maxDataBytes: number
}

/**
 * The default stream as a whole: what the servers of `effect-eventstream/rpc`, `/ftn18` and `/http` ask for. A stream with
 * a name of its own is served with `Layer.effect(EventStream.EventStream, Orders)`.
 *
 * @since 0.1.0
 * @category tags
 */
export class EventStream extends Context.Tag("effect-eventstream/EventStream")<EventStream, Service>() {}

/**
 * What can go wrong when a stream is opened.
 *
 * @since 0.1.0
 * @category errors
 */
export type OpenError = StoreError | SchemaMismatch | UnsupportedDatabase | InvalidOption

const defaults = { prefix: "evt_", maxDataBytes: 65_000, shutdownTimeout: Duration.seconds(10) }
const mostDataBytes = 4 * 1024 * 1024

const place = (options: Options) => ({
  prefix: options.prefix ?? defaults.prefix,
  schema: options.schema,
  migrate: options.migrate ?? "check"
})

/**
 * Opens a stream on the `SqlClient` in the context, for as long as the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Service, OpenError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function*() {
    const archiving = options.archiver ?? "off"
    if (archiving !== "off" && options.history === undefined) {
      return yield* new InvalidOption({
        option: "archiver",
        value: "on",
        expected: "off without a history: say where archived events go (history)"
      })
    }
    const maxDataBytes = yield* Reader.within(
      "maxDataBytes",
      options.maxDataBytes ?? defaults.maxDataBytes,
      1,
      mostDataBytes
    )
    const ttl = Duration.decode(options.pusher?.leaseTtl ?? Pusher.defaultTtl)
    if (!Duration.between(ttl, { minimum: "1 second", maximum: "1 hour" })) {
      return yield* new InvalidOption({
        option: "pusher.leaseTtl",
        value: Duration.format(ttl),
        expected: "1 second to 1 hour"
      })
    }
    const sql = yield* SqlClient.SqlClient
    const readingClient = options.reader === undefined ? undefined : yield* buildReader(options.reader)
    const store = yield* Store.make({ ...place(options), sql, reader: readingClient })
    yield* WakeUps.background(store)
    if (options.wakeUps !== undefined) yield* options.wakeUps(store)
    const looks = options.sequencer === "off"
      ? undefined
      : yield* Sequencer.background(store, options.sequencer?.idle)
    const archive = options.history === undefined ? undefined : yield* History.make({
      ...options.history,
      prefix: options.history.prefix ?? options.prefix,
      migrate: options.history.migrate ?? options.migrate
    })
    const shutdown = yield* Shutdown.make
    const reader = Reader.make(store, { maxDataBytes })
    const poller = Poller.make(store, reader)
    const { open, openLive, service: pusher } = yield* Pusher.make(store, reader, poller, {
      idle: options.pusher?.idle,
      ttl,
      looks,
      shutdown
    })
    const source = local(store, reader, pusher)
    const archiver = archive === undefined ? undefined : Archiver.make(source, archive.store)
    const service: Service = {
      stream: store.stream,
      generator: yield* Generator.make(store, { maxDataBytes }),
      poller,
      pusher,
      sequencer: Sequencer.make(store),
      consumers: Consumers.make(store, reader, archive?.store),
      discarder: Discarder.make(store, archive === undefined ? "none" : "history"),
      archiver,
      history: archive?.history,
      health: Health.make(store, { history: archive?.store }),
      core: { store, reader, open, openLive, source, historyStore: archive?.store, maxDataBytes }
    }
    if (archiver !== undefined && archiving !== "off") yield* Archiver.background(archiver, archiving)
    if (options.discarder !== undefined && options.discarder !== "off") {
      yield* Discarder.background(store, options.discarder, archive === undefined ? "none" : "history")
    }
    // the last one that is added is the first one that runs
    yield* Effect.addFinalizer(() => shutdown.end(options.shutdownTimeout ?? defaults.shutdownTimeout))
    return service
  })

/** Built apart, or it would be shared with, or take the place of, the client in the context. */
const buildReader = (reader: Layer.Layer<SqlClient.SqlClient, unknown>) =>
  Effect.flatMap(Effect.scope, (scope) => Layer.buildWithScope(Layer.fresh(reader), scope)).pipe(
    Effect.map((context) => Context.get(context, SqlClient.SqlClient)),
    // better-sqlite3 throws when it cannot open a file
    Effect.sandbox,
    Effect.mapError((cause) =>
      new StoreError({ operation: "open reader", reason: "connection", retryable: false, cause: Cause.squash(cause) })
    )
  )

/**
 * Creates or updates the tables of a stream, and of its history: what a deployment runs with a role that may do so. Can be run any number
 * of times, by several processes at once.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrate = (
  options: Pick<Options, "prefix" | "schema" | "history"> = {}
): Effect.Effect<void, OpenError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* Store.make({ ...place(options), migrate: "auto", sql, reader: undefined })
    if (options.history === undefined) return
    yield* History.migrate({ ...options.history, prefix: options.history.prefix ?? options.prefix })
  })

/**
 * The Tags of the default stream.
 *
 * @since 0.1.0
 * @category models
 */
export type Services =
  | EventStream
  | GeneratorService.Generator
  | PollerService.Poller
  | PusherService.Pusher
  | SequencerService.Sequencer
  | ConsumersService.Consumers
  | DiscarderService.Discarder
  | HealthService.Health

/**
 * What a layer with these options provides: with a `history` also `Archiver` and `History`.
 *
 * @since 0.1.0
 * @category models
 */
export type ServicesOf<O> =
  | Services
  | (O extends { readonly history: History.Options } ? ArchiverService.Archiver | HistoryService.History : never)

/**
 * The default stream on the `SqlClient` in the context: all its services as Tags.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <O extends Options = {}>(
  options?: O
): Layer.Layer<ServicesOf<O>, OpenError, SqlClient.SqlClient> =>
  Layer.scopedContext(Effect.map(make(options), (service) => contextOf(service) as Context.Context<ServicesOf<O>>))

const contextOf = (service: Service): Context.Context<Services> => {
  const { archiver, consumers, discarder, generator, health, history, poller, pusher, sequencer } = service
  let context: Context.Context<any> = Context.make(EventStream, service).pipe(
    Context.add(GeneratorService.Generator, generator),
    Context.add(PollerService.Poller, poller),
    Context.add(PusherService.Pusher, pusher),
    Context.add(SequencerService.Sequencer, sequencer),
    Context.add(ConsumersService.Consumers, consumers),
    Context.add(DiscarderService.Discarder, discarder),
    Context.add(HealthService.Health, health)
  )
  if (archiver !== undefined) context = Context.add(context, ArchiverService.Archiver, archiver)
  if (history !== undefined) context = Context.add(context, HistoryService.History, history)
  return context
}

/**
 * The same from Effect `Config`: `migrate`, `prefix` and so on may each come from the environment.
 *
 * ```ts
 * EventStream.layerConfig({ prefix: Config.string("EVT_PREFIX"), migrate: Config.succeed("auto") })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <O extends Options>(
  config: Config.Config.Wrap<O>
): Layer.Layer<ServicesOf<O>, OpenError | ConfigError, SqlClient.SqlClient> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), (options) => layer<O>(options)))

/**
 * A stream with a name of its own, where one process has several:
 *
 * ```ts
 * class Orders extends EventStream.Tag<Orders>()("Orders", { prefix: "orders_" }) {}
 * // Orders.layer, and then: const { generator } = yield* Orders
 * ```
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <Self>() =>
<const Id extends string>(
  id: Id,
  defaultOptions?: Options
): TagClass<Self, Id> => {
  const tag = Context.Tag(`effect-eventstream/EventStream/${id}`)<Self, Service>()
  return Object.assign(tag, {
    layer: (options?: Options) => Layer.scoped(tag as any, make({ ...defaultOptions, ...options }))
  }) as any
}

/**
 * @since 0.1.0
 * @category models
 */
export interface TagClass<Self, Id extends string>
  extends Context.TagClass<Self, `effect-eventstream/EventStream/${Id}`, Service>
{
  readonly layer: (options?: Options) => Layer.Layer<Self, OpenError, SqlClient.SqlClient>
}
