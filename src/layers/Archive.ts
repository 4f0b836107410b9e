/**
 * A stream with a history: everything of `EventStream`, and `Archiver`, `History` and `HistoryStore`.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as ArchiverService from "../services/Archiver.js"
import * as HistoryService from "../services/History.js"
import * as HistoryStoreService from "../services/HistoryStore.js"
import type { Source } from "./archive/source.js"
import * as Archiver from "./Archiver.js"
import * as EventStream from "./EventStream.js"
import * as History from "./History.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends EventStream.Options {
  /** Where archived events go; `prefix` and `migrate` are the stream's unless they are said. */
  readonly history: History.Options
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service extends EventStream.Service {
  readonly archiver: ArchiverService.Service
  readonly history: HistoryService.Service
  readonly historyStore: HistoryStoreService.Service
  /** @internal */
  readonly source: Source
}

/**
 * @since 0.1.0
 * @category models
 */
export type Services =
  | EventStream.Services
  | ArchiverService.Archiver
  | HistoryService.History
  | HistoryStoreService.HistoryStore

/**
 * Opens both for as long as the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Service, EventStream.OpenError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function*() {
    const { consumersWith, service, source } = yield* EventStream.opened(options)
    const { history, store } = yield* History.make({
      ...options.history,
      prefix: options.history.prefix ?? options.prefix,
      migrate: options.history.migrate ?? options.migrate
    })
    return {
      ...service,
      consumers: consumersWith(store),
      history,
      historyStore: store,
      source,
      archiver: Archiver.make(source, store)
    }
  })

/**
 * The same as Tags.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<Services, EventStream.OpenError, SqlClient.SqlClient> =>
  Layer.scopedContext(
    Effect.map(make(options), (service) =>
      EventStream.contextOf(service).pipe(
        Context.add(ArchiverService.Archiver, service.archiver),
        Context.add(HistoryService.History, service.history),
        Context.add(HistoryStoreService.HistoryStore, service.historyStore)
      ))
  )
