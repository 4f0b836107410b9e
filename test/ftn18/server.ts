/** A gateway on a database of a test, with the accounts of the kit. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Access from "../../src/access.js"
import * as Ftn18 from "../../src/ftn18.js"
import { EventStream } from "../../src/index.js"
import * as NodeServer from "../../src/layers/network/nodeServer.js"
import type { EventStreamLayer } from "../support/stream.js"
import { macKey } from "./client.js"

/** Those of kit/users.js, and users with few rights. */
export const accounts = Layer.unwrapEffect(Effect.gen(function*() {
  const password = yield* Access.hashPassword("evtpass")
  return Access.accounts([
    { user: "evtuser", password },
    { user: "evtother", password: yield* Access.hashPassword("otherpass") },
    { user: "evthmac", macKey: Redacted.make(new Uint8Array(macKey)) },
    { user: "pushed", password, rights: { emit: false, poll: false } },
    { user: "onlylive", password, rights: { emit: ["A"], poll: "live", push: "live" } }
  ])
}))

/** Until the scope closes. */
export const serve = (
  stream: EventStreamLayer,
  options: Ftn18.Options = {}
): Effect.Effect<{ readonly port: number; readonly stream: EventStream.Service }, unknown, Scope.Scope> =>
  Effect.map(
    Layer.build(
      Ftn18.layerServer({ path: "/", secureChannel: "proxy", ...options }).pipe(
        Layer.provideMerge(NodeServer.layer(options)),
        Layer.provide(accounts),
        Layer.provideMerge(stream)
      )
    ),
    (context) => ({
      port: Context.get(context, NodeServer.NodeServer).port,
      stream: Context.get(context, EventStream.EventStream)
    })
  )

export interface Served {
  readonly port: number
  readonly stream: EventStream.Service
  /** What was logged since it began. */
  readonly logs: ReadonlyArray<{ readonly level: string; readonly text: string }>
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
}

/** Serves while `test` runs. */
export const served = (
  stream: EventStreamLayer,
  test: (served: Served) => Promise<void>,
  options?: Ftn18.Options
): Promise<void> => {
  const logs: Array<{ readonly level: string; readonly text: string }> = []
  const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    const text = [message].flat().map(String).join(" ")
    logs.push({ level: logLevel.label, text: `${text} ${cause._tag === "Empty" ? "" : String(cause)}` })
  })
  return Effect.runPromise(
    Effect.scoped(
      Effect.flatMap(
        serve(stream, options),
        (served) => Effect.promise(() => test({ ...served, logs, run: Effect.runPromise }))
      )
    ).pipe(
      Effect.provide(Logger.replace(Logger.defaultLogger, logger))
    ) as Effect.Effect<void>
  )
}

/** How often the gateway has refused something in this process. */
export const refused = (why: string): number => {
  let count = 0
  for (const { metricKey, metricState } of Effect.runSync(Metric.snapshot)) {
    if (metricKey.name !== "evt.server.refused") continue
    const tags = Object.fromEntries([...metricKey.tags].map(({ key, value }) => [key, value]))
    if (tags.transport === "ftn18" && tags.why === why) count += Number((metricState as any).count)
  }
  return count
}

/** Waits until something holds; the test's own time limit ends it. */
export const until = async (holds: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 10))
}
