/** The same with TLS: the server shows a certificate, the client trusts the authority that has signed it. */
import * as Socket from "@effect/platform/Socket"
import { Effect, Layer, Redacted } from "effect"
import { Poller } from "effect-eventstream"
import * as Access from "effect-eventstream/access"
import * as Rpc from "effect-eventstream/rpc"
import * as Sqlite from "effect-eventstream/sqlite"
import { readFileSync } from "node:fs"
import { WebSocket } from "ws"

// of the machine that serves; a public authority's needs no `ca` on the client's side
const { TLS_CERT = "cert.pem", TLS_KEY = "key.pem" } = process.env
const cert = readFileSync(TLS_CERT)

const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provide(Sqlite.client("remote-tls.db")))

const program = Effect.gen(function*() {
  const password = yield* Access.hashPassword("correct horse")
  const Users = Access.accounts([{ user: "shop", password }])
  const tls = { cert, key: readFileSync(TLS_KEY) }
  const Server = Rpc.layerServer({ port: 28443, tls }).pipe(Layer.provide([Events, Users]))

  const credentials = { user: "shop", password: Redacted.make("correct horse") }
  const Remote = Rpc.layer({ url: "wss://localhost:28443/rpc", credentials }).pipe(
    Layer.provide(
      Layer.succeed(
        Socket.WebSocketConstructor,
        (url) => new WebSocket(url, { ca: cert }) as never as globalThis.WebSocket
      )
    )
  )
  yield* Effect.gen(function*() {
    const poller = yield* Poller.Poller
    yield* poller.register("SHIPPING")
    const { events } = yield* poller.poll("SHIPPING")
    yield* Effect.log(`over TLS: ${events.length} events`)
  }).pipe(Effect.provide(Remote), Effect.provide(Server))
})

Effect.runPromise(program)
