import { Effect, Schedule } from "effect"
import { Pusher } from "effect-eventstream"
import { UserAdded } from "./events.js"

/** Stands for a mail server. */
export const mail = { accepts: (email: string) => email.includes("@") }

export const welcome = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.run(
    "WELCOME",
    (event) =>
      event._tag !== "Known"
        ? Effect.void
        : mail.accepts(event.data.email)
        ? Effect.log(`sent to ${event.data.email}`)
        : Effect.fail(new Error(`${event.data.email} is not an address`)),
    {
      want: [UserAdded],
      register: { from: "beginning" },
      // three more calls, then the event is poison
      retry: Schedule.exponential("10 millis").pipe(Schedule.intersect(Schedule.recurs(3))),
      timeLimit: "10 seconds",
      poison: "parkKey",
      concurrency: 8
    }
  )
})
