/** Runs everything that docs/delivery.md shows, in a folder where it may make a file. */
import { SqlClient } from "@effect/sql"
import { Effect, Fiber, Schedule } from "effect"
import { Consumers, Generator } from "effect-eventstream"
import { copier } from "./acknowledge.js"
import { once } from "./busy.js"
import { Events, UserAdded } from "./events.js"
import { directory } from "./exactlyOnce.js"
import { screen } from "./live.js"
import { figures } from "./metrics.js"
import { mail, welcome } from "./poison.js"
import { nightly } from "./poll.js"
import { repaired } from "./redrive.js"
import { mailer } from "./run.js"
import { indexer } from "./subscribe.js"

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const generator = yield* Generator.Generator
  const consumers = yield* Consumers.Consumers
  yield* sql`CREATE TABLE directory (email TEXT NOT NULL)`
  const onScreen = yield* Effect.fork(screen)
  yield* Effect.sleep("200 millis")
  const users = [[1, "ada@example.org"], [2, "nobody"], [3, "grace@example.org"], [2, "alan@example.org"]] as const
  for (const [id, email] of users) yield* generator.transaction(generator.emit(UserAdded, { id, email }))

  const running = yield* Effect.fork(
    Effect.all([mailer, indexer, copier, welcome, directory], { concurrency: "unbounded", discard: true })
  )
  yield* nightly
  const letters = consumers.deadLetters("WELCOME")
  yield* Effect.repeat(letters, { until: (all) => all.length === 2, schedule: Schedule.spaced("20 millis") })
  yield* Effect.repeat(sql`SELECT email FROM directory`, {
    until: (rows) => rows.length === 4,
    schedule: Schedule.spaced("20 millis")
  })
  yield* once
  // the mail server has learned to send what it refused
  mail.accepts = () => true
  yield* repaired
  yield* Effect.repeat(letters, { until: (all) => all.length === 0, schedule: Schedule.spaced("20 millis") })
  for (const line of yield* figures) yield* Effect.log(line)
  yield* Fiber.interruptAll([onScreen, running])
})

Effect.runPromise(Effect.provide(program, Events))
