/** What nearly every test has in its context. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { describe } from "vitest"
import type { Services } from "../../examples/main-job/database.js"
import { Consumers, Discarder, EventType, Generator, Health, Poller, Pusher, Sequencer } from "../../src/index.js"
import { type Backend, backends as available, servers, type TestDatabase } from "./backends.js"
import { skipMissing, withDatabase } from "./suite.js"

export type StreamServices = Services
export type EventStreamLayer = Layer.Layer<StreamServices, unknown>

export const Added = EventType.make("USR_ADD", Schema.Struct({ id: Schema.Int, email: Schema.String }))
export const Gone = EventType.make("USR_DEL", Schema.Struct({ id: Schema.Int }))

export interface Context {
  readonly backend: Backend
  readonly db: () => TestDatabase
  /** Runs with the stream of the file's database, on a client of its own. */
  readonly run: <A, E>(
    effect: Effect.Effect<A, E, StreamServices | Scope.Scope>,
    options?: Parameters<TestDatabase["stream"]>[0],
    client?: Parameters<TestDatabase["stream"]>[1]
  ) => Promise<A>
  /** A prefix that no other test of the file has: a stream of its own. */
  readonly prefix: () => string
}

let prefixes = 0

/** One suite, all dialects. */
export const onEach = (
  name: string,
  suite: (context: Context) => void,
  options: { readonly backends?: ReadonlyArray<Backend>; readonly serializable?: boolean } = {}
) => {
  if (options.backends === undefined || options.backends === servers) skipMissing(name)
  describe.each([...(options.backends ?? available)])(`${name} (%s)`, (backend) => {
    const db = withDatabase(backend, options)
    suite({
      backend,
      db,
      run: (effect, streamOptions, client) =>
        Effect.runPromise(Effect.scoped(Effect.provide(effect, db().stream(streamOptions, client)))),
      prefix: () => `t${++prefixes}_`
    })
  })
}

/** The services together. */
export const services = Effect.all({
  consumers: Consumers.Consumers,
  discarder: Discarder.Discarder,
  generator: Generator.Generator,
  health: Health.Health,
  poller: Poller.Poller,
  pusher: Pusher.Pusher,
  sequencer: Sequencer.Sequencer
})
