/**
 * Wake-ups between processes on PostgreSQL: NOTIFY on a statement of its own after the commit (inside the writing
 * transaction it would serialize all writers), at most one in `coalesce`; LISTEN on a connection that is kept.
 *
 * All of it is a hint. The connection may die at any moment: then it is made again, and until then everybody polls.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"
import type { Hub } from "./EventStream.js"
import { finishing } from "../internal/finishing.js"
import { detached } from "./sql/Database.js"

const coalesce = "5 millis"
const reconnect = "1 second"

/** What of a connection of @effect/sql-pg is used here: the driver's client is an event emitter. */
interface Driver {
  readonly on: (event: string, listener: (message: any) => void) => void
  readonly off: (event: string, listener: (message: any) => void) => void
}

export const make = (client: SqlClient.SqlClient) => (hub: Hub) =>
  Effect.gen(function*() {
    const sql = client.withoutTransforms()
    const self = randomUUID()
    // names of channels are identifiers: 63 bytes at most
    const channel = `evt_${hub.stream.replaceAll("-", "")}`

    const listening = Effect.scoped(Effect.gen(function*() {
      // a connection that the pool hands to an interrupted fiber is never given back, and the client never ends
      const conn = yield* Effect.uninterruptible(sql.reserve)
      const driver = (conn as Connection & { readonly pg?: Driver }).pg
      if (driver === undefined) return yield* Effect.never
      const ended = yield* Effect.makeLatch(false)
      const onNotification = ({ channel: on, payload }: { readonly channel: string; readonly payload?: string }) => {
        if (on === channel && payload !== self) hub.hint("elsewhere")
      }
      const onEnd = () => ended.unsafeOpen()
      driver.on("notification", onNotification)
      driver.on("end", onEnd)
      driver.on("error", onEnd)
      yield* Effect.addFinalizer(() =>
        Effect.zipRight(
          Effect.sync(() => {
            driver.off("notification", onNotification)
            driver.off("end", onEnd)
            driver.off("error", onEnd)
          }),
          // it goes back to the pool
          Effect.ignore(
            Effect.timeout(
              Effect.disconnect(conn.executeUnprepared(`UNLISTEN "${channel}"`, [], undefined)),
              "1 second"
            )
          )
        )
      )
      yield* Effect.uninterruptible(conn.executeUnprepared(`LISTEN "${channel}"`, [], undefined))
      // what was committed before
      hub.hint("elsewhere")
      yield* ended.await
    }))
    yield* Effect.forkScoped(
      detached(
        Effect.forever(Effect.zipRight(Effect.catchAllCause(listening, () => Effect.void), Effect.sleep(reconnect)))
      )
    )

    const some = yield* Effect.makeLatch(false)
    yield* hub.hints((where) => {
      if (where === "here") some.unsafeOpen()
    })
    const notifying = Effect.gen(function*() {
      yield* some.await
      yield* some.close
      yield* finishing(Effect.scoped(
        Effect.flatMap(sql.reserve, (conn) =>
          conn.executeUnprepared(`SELECT pg_notify('${channel}', '${self}')`, [], undefined))
      ))
      yield* Effect.sleep(coalesce)
    })
    yield* Effect.forkScoped(
      detached(Effect.forever(Effect.catchAllCause(notifying, () =>
        Effect.sleep(reconnect))))
    )
  })
