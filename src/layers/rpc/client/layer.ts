/**
 * The services of a remote stream, as Tags.
 */
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { InvalidOption } from "../../../EventStreamError.js"
import * as ArchiverService from "../../../services/Archiver.js"
import * as ConsumersService from "../../../services/Consumers.js"
import * as GeneratorService from "../../../services/Generator.js"
import * as HistoryService from "../../../services/History.js"
import * as PollerService from "../../../services/Poller.js"
import * as PusherService from "../../../services/Pusher.js"
import * as Shutdown from "../../../streams/Shutdown.js"
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

/** The client as a context of all its services, as long as the scope. */
export const make = (options: Options): Effect.Effect<Context.Context<Services>, OpenError, Scope.Scope> =>
  Effect.gen(function*() {
    const settings = yield* check(options)
    const calls = yield* Calls.make(settings)
    const shutdown = yield* Shutdown.make
    const opened = options.history === undefined ? undefined : yield* History.make(options.history)
    const pusher = Pusher.make(calls, Subscription.make(calls, shutdown))
    const generator = yield* Generator.make(calls)
    let context: Context.Context<any> = Context.make(GeneratorService.Generator, generator).pipe(
      Context.add(PollerService.Poller, Poller.make(calls)),
      Context.add(PusherService.Pusher, pusher),
      Context.add(ConsumersService.Consumers, Consumers.make(calls, opened?.store))
    )
    if (opened !== undefined) {
      // whose history it is cannot be left open
      const stream = yield* reconnecting(settings.reconnect)(Source.streamOf(calls))
      const archiver = Archiver.make(Source.make(calls, pusher, stream), opened.store)
      context = context.pipe(
        Context.add(ArchiverService.Archiver, archiver),
        Context.add(HistoryService.History, opened.history)
      )
    }
    yield* Effect.addFinalizer(() => shutdown.end(settings.shutdownTimeout))
    return context
  })
