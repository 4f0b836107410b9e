/** Runs everything that docs/network.md shows, in a folder where it may make a file. */
import { Effect, Fiber, Layer, Schedule } from "effect"
import { Consumers } from "effect-eventstream"
import { Events } from "./events.js"
import { mailer } from "./remote.js"
import { port, Served } from "./server.js"
import { Users } from "./users.js"
import { watch } from "./watch.js"

const url = `http://127.0.0.1:${port}/api/events`
const authorization = `Basic ${Buffer.from("shop:shop-secret").toString("base64")}`

const program = Effect.gen(function*() {
  const consumers = yield* Consumers.Consumers
  const mails = yield* Effect.fork(mailer)
  const stop = new AbortController()
  const seen = Effect.async<void>((resume) => {
    void watch(`${url}?from=beginning`, authorization, (type, data) => {
      console.log(`seen: ${type} ${data}`)
      stop.abort()
      resume(Effect.void)
    }, stop.signal)
  })
  const watching = yield* Effect.fork(seen)
  const answer = yield* Effect.promise(async () => {
    const body = JSON.stringify({ type: "USR_ADD", data: { id: 1, email: "ada@example.org" } })
    const response = await fetch(url, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body
    })
    return response.text()
  })
  yield* Effect.log(`added: ${answer}`)
  yield* Fiber.join(watching)
  yield* Effect.repeat(consumers.list, {
    until: (all) => all.some(({ consumer, cursor }) => consumer === "mail:MAILER" && cursor === 1n),
    schedule: Schedule.spaced("20 millis")
  })
  yield* Fiber.interrupt(mails)
})

Effect.runPromise(Effect.provide(program, Served.pipe(Layer.provide(Users), Layer.provideMerge(Events))))
