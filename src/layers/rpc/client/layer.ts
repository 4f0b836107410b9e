/**
 * The services of a remote stream, as Tags.
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { InvalidOption, StoreError } from "../../../EventStreamError.js"
import * as ArchiverService from "../../../services/Archiver.js"
import * as ConsumersService from "../../../services/Consumers.js"
import * as GeneratorService from "../../../services/Generator.js"
import * as HistoryService from "../../../services/History.js"
import type { Service as HistoryStore } from "../../../services/HistoryStore.js"
import * as PollerService from "../../../services/Poller.js"
import * as PusherService from "../../../services/Pusher.js"
import * as Shutdown from "../../../streams/Shutdown.js"
import type { Source as ArchiveSource } from "../../archive/source.js"
import * as Archiver from "../../Archiver.js"
import * as History from "../../History.js"
import { reconnecting } from "../../reader.js"
import * as Calls from "./calls.js"
import * as Consumers from "./consumers.js"
import * as Generator from "./generator.js"
import { check, type Options } from "./options.js"
import * as Poller from "./poller.js"
import * as Pusher from "./pusher.js"
import * as Source from "./source.js"
import * as Subscription from "./subscription.js"

export type Services =
  | GeneratorService.Generator
  | PollerService.Poller
  | PusherService.Pusher
  | ConsumersService.Consumers

export type OpenError = InvalidOption | History.OpenError

export type Wrapped = Config.Config.Wrap<Options>

/** The services of a client, without a history. */
export interface Opened {
  readonly generator: GeneratorService.Service
  readonly poller: PollerService.Service
  readonly pusher: PusherService.Service
  readonly consumers: ConsumersService.Service
  /** What else may be asked about the log; it needs to know which stream it is. */
  readonly source: Effect.Effect<ArchiveSource, StoreError>
}

/** The client, as long as the scope. */
export const open = (
  options: Options,
  history?: HistoryStore
): Effect.Effect<Opened, InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const settings = yield* check(options)
    const calls = yield* Calls.make(settings)
    const shutdown = yield* Shutdown.make
    const pusher = Pusher.make(calls, Subscription.make(calls, shutdown))
    const generator = yield* Generator.make(calls)
    // the last one that is added is the first one that runs
    yield* Effect.addFinalizer(() => shutdown.end(settings.shutdownTimeout))
    return {
      generator,
      poller: Poller.make(calls),
      pusher,
      consumers: Consumers.make(calls, history),
      source: Effect.map(Source.streamOf(calls), (stream) => Source.make(calls, pusher, stream))
    }
  })

/** The client as a context of all its services, as long as the scope. */
export const make = (options: Options): Effect.Effect<Context.Context<Services>, OpenError, Scope.Scope> =>
  Effect.gen(function*() {
    const opened = options.history === undefined ? undefined : yield* History.make(options.history)
    const { consumers, generator, poller, pusher, source } = yield* open(options, opened?.store)
    let context: Context.Context<any> = Context.make(GeneratorService.Generator, generator).pipe(
      Context.add(PollerService.Poller, poller),
      Context.add(PusherService.Pusher, pusher),
      Context.add(ConsumersService.Consumers, consumers)
    )
    if (opened !== undefined) {
      // whose history it is cannot be left open
      const archiver = Archiver.make(yield* reconnecting(options.reconnect)(source), opened.store)
      context = context.pipe(
        Context.add(ArchiverService.Archiver, archiver),
        Context.add(HistoryService.History, opened.history)
      )
    }
    return context
  })
