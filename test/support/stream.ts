/** What nearly every test has in its context. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { describe } from "vitest"
import type { Services } from "../../examples/main-job/database.js"
import { Consumers, Discarder, EventType, Generator, Health, Poller, Pusher, Sequencer } from "../../src/index.js"
import { overNetwork } from "./remote.js"
import { type Backend, backends as available, servers, type TestDatabase } from "./backends.js"
import { skipMissing, withDatabase } from "./suite.js"

export type StreamServices = Services
export type EventStreamLayer = Layer.Layer<StreamServices, unknown>

export const Added = EventType.make("USR_ADD", Schema.Struct({ id: Schema.Int, email: Schema.String }))
export const Gone = EventType.make("USR_DEL", Schema.Struct({ id: Schema.Int }))

export interface Context {
  readonly backend: Backend
  /** How the program reaches the stream. */
  readonly via: Via
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
  options: {
    readonly backends?: ReadonlyArray<Backend>
    readonly serializable?: boolean
    /** Once more with the consumers' services over the network: a program does not change when its layer does. */
    readonly remote?: boolean
  } = {}
) => {
  if (options.backends === undefined || options.backends === servers) skipMissing(name)
  const backends = options.backends ?? available
  const variants = backends.flatMap((backend): ReadonlyArray<{ readonly backend: Backend; readonly via: Via }> =>
    (options.remote === true ? ways[backend] : ["here"] as const).map((via) => ({ backend, via }))
  )
  describe.each(variants.map((variant) => ({
    ...variant,
    where: variant.via === "here" ? variant.backend : `${variant.backend} by ${variant.via}`
  })))(`${name} ($where)`, ({ backend, via }) => {
    const db = withDatabase(backend, options)
    suite({
      backend,
      via,
      db,
      run: (effect, streamOptions, client) => {
        const stream = db().stream(streamOptions, client)
        return Effect.runPromise(
          Effect.scoped(Effect.provide(effect, via === "here" ? stream : overNetwork(via, stream)))
        )
      },
      prefix: () => `t${++prefixes}_`
    })
  })
}

export type Via = "here" | "ws" | "http"

/** One kind of database by every way, the others by one of them. */
const ways: { readonly [B in Backend]: ReadonlyArray<Via> } = {
  sqlite: ["here", "ws", "http"],
  postgres: ["here", "ws"],
  mysql: ["here"]
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
