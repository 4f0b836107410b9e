/** The services of a stream with a network between: a server and a client in one process. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Access from "../../src/access.js"
import type { InvalidOption } from "../../src/EventStreamError.js"
import { Generator } from "../../src/index.js"
import * as NodeServer from "../../src/layers/network/nodeServer.js"
import * as Server from "../../src/layers/rpc/server.js"
import * as Rpc from "../../src/rpc.js"
import type { EventStreamLayer, StreamServices } from "./stream.js"

/** Everybody may do everything under the name that it says. */
export const everything = { administer: true } as const

/** Serves the stream in the context, as long as the scope; the URL. */
export const serving = (
  via: "ws" | "http",
  access: Layer.Layer<Access.Access, InvalidOption> = Access.trusting(everything),
  options?: Rpc.ServerOptions
) =>
  Effect.gen(function*() {
    const server = yield* NodeServer.make()
    yield* Layer.build(
      Server.layerNode(options).pipe(Layer.provide(access), Layer.provide(Layer.succeed(NodeServer.NodeServer, server)))
    )
    return `${via}://127.0.0.1:${server.port}/rpc`
  })

export const credentials = (user: string) => ({ user, password: Redacted.make("any") })

/**
 * A stream with its consumers' services by the network. Transactions, which tests write events in, stay where the stream
 * is, and so does what is not served.
 */
export const overNetwork = (via: "ws" | "http", stream: EventStreamLayer): EventStreamLayer =>
  Layer.scopedContext(Effect.gen(function*() {
    const here = yield* Layer.build(stream)
    const url = yield* Effect.provide(serving(via), here)
    const client = yield* Layer.build(Rpc.layer({ url, credentials: credentials("local") }))
    const { emit, emitAll, statement, transaction } = Context.get(here, Generator.Generator)
    return Context.merge(here, client).pipe(
      Context.add(Generator.Generator, {
        ...Context.get(client, Generator.Generator),
        emit,
        emitAll,
        statement,
        transaction
      })
    )
  }) as Effect.Effect<Context.Context<StreamServices>, unknown, Scope.Scope>)
