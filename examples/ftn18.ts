/**
 * The stream for existing clients of FutoIn. The client here is twenty lines of Node, so that one sees what goes over the
 * wire; real ones are GenFace, PollFace and ReliableReceiver of futoin-eventstream, as they are.
 */
import { Effect, Layer, Schema } from "effect"
import { EventType, Generator } from "effect-eventstream"
import * as Access from "effect-eventstream/access"
import * as Ftn18 from "effect-eventstream/ftn18"
import * as Sqlite from "effect-eventstream/sqlite"
import { WebSocket } from "ws"

const OrderPaid = EventType.make("ORDER_PAID", Schema.Struct({ order: Schema.Int }))

const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provideMerge(Sqlite.client("example.db")))

const Users = Layer.unwrapEffect(Effect.map(
  Access.hashPassword("secret"),
  (password) => Access.accounts([{ user: "billing", password, rights: { emit: ["INVOICE_SENT"] } }])
))

const port = 18_080
// in production with `tls: { key, cert }` instead, or behind a proxy that has them
const Gateway = Ftn18.layer({ port, secureChannel: "proxy" }).pipe(Layer.provide(Users), Layer.provideMerge(Events))

const sec = "billing:secret"

/** One call over HTTP. */
const call = (f: string, p: unknown) =>
  Effect.promise(async () => {
    const response = await fetch(`http://127.0.0.1:${port}/ftn18`, {
      method: "POST",
      body: JSON.stringify({ f, p, sec })
    })
    return response.json()
  })

/** A receiver: says that it is ready, and answers what the server calls. Ends after so many events. */
const receive = (component: string, count: number) =>
  Effect.async<void>((resume) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ftn18`)
    const send = (message: unknown) => socket.send(JSON.stringify(message))
    socket.on("open", () => send({ f: "futoin.evt.push:1.1:readyToReceive", p: { component }, rid: "C1", sec }))
    socket.on("message", (data) => {
      const { f, p, rid } = JSON.parse(String(data))
      if (f !== "futoin.evt.receiver:1.1:onEvents") return
      for (const event of p.events) console.log(`received ${event.type} ${JSON.stringify(event.data)}`)
      send({ r: true, rid })
      count -= p.events.length
      if (count <= 0) socket.close()
    })
    socket.on("close", () => resume(Effect.void))
  })

const program = Effect.gen(function*() {
  const generator = yield* Generator.Generator
  console.log("registered:", yield* call("futoin.evt.poll:1.1:registerConsumer", { component: "LEDGER" }))
  // from inside the application, in the transaction of what it changes, and from outside
  yield* generator.transaction(generator.emit(OrderPaid, { order: 1 }))
  console.log("added:", yield* call("futoin.evt.gen:1.1:addEvent", { type: "INVOICE_SENT", data: { order: 1 } }))
  console.log("refused:", yield* call("futoin.evt.gen:1.1:addEvent", { type: "ORDER_PAID", data: { order: 2 } }))
  yield* receive("LEDGER", 2)
  console.log("left:", yield* call("futoin.evt.poll:1.1:pollEvents", { component: "LEDGER" }))
})

Effect.runPromise(Effect.provide(program, Gateway))
