/** A gateway on a database of a test, with the accounts of the kit. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Access from "../../src/access.js"
import * as Ftn18 from "../../src/ftn18.js"
import * as NodeServer from "../../src/layers/network/nodeServer.js"
import type { EventStreamLayer } from "../support/stream.js"

export const macKey = Buffer.from("0123456789abcdef0123456789abcdef")

/** Those of kit/users.js. */
export const accounts = Layer.unwrapEffect(Effect.gen(function*() {
  return Access.accounts([
    { user: "evtuser", password: yield* Access.hashPassword("evtpass") },
    { user: "evtother", password: yield* Access.hashPassword("otherpass") },
    { user: "evthmac", macKey: Redacted.make(new Uint8Array(macKey)) }
  ])
}))

/** The port, when it is served; until the scope closes. */
export const serve = (stream: EventStreamLayer, options: Ftn18.Options = {}) =>
  Effect.gen(function*() {
    const port = yield* Deferred.make<number>()
    const server = Layer.tap(NodeServer.layer(options), (context) =>
      Deferred.succeed(port, context.unsafeMap.get(NodeServer.NodeServer.key).port))
    yield* Layer.build(
      Ftn18.layerServer({ path: "/", secureChannel: "proxy", ...options }).pipe(
        Layer.provideMerge(server),
        Layer.provide(accounts),
        Layer.provideMerge(stream)
      )
    )
    return yield* Deferred.await(port)
  })
