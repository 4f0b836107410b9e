import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Access, trusting } from "../../access.js"
import * as Http from "../../http.js"
import * as EventStream from "../../layers/EventStream.js"
import { common, optional } from "../arguments.js"
import { endsWell, Usage } from "../CliError.js"
import * as Database from "../database.js"
import { load, variable } from "../environment.js"
import * as Output from "../output.js"
import * as Accounts from "../serve/accounts.js"
import { addressOf, isLoopback, tlsOf } from "../serve/listen.js"
import * as Monitor from "../serve/monitor.js"

const needed = "@effect/rpc and ws"

export const serve = Command.make("serve", {
  ...common,
  listen: optional("listen", "host:port. Default: EVT_LISTEN, or 127.0.0.1:8080"),
  accounts: optional("accounts", "The file of accounts. Default: EVT_ACCOUNTS"),
  trust: Options.boolean("trust").pipe(
    Options.withDescription("Believes whatever name a caller gives, who may do everything: on a loopback address only")
  ),
  behindProxy: Options.boolean("behind-proxy").pipe(
    Options.withDescription("TLS ends at a proxy, and there is no other way to here: FTN18 clients may add events")
  ),
  archive: Options.boolean("archive").pipe(Options.withDescription("Archives, too (EVT_HISTORY_URL)")),
  discard: Options.boolean("discard").pipe(Options.withDescription("Discards what everybody has, too"))
}, (options) =>
  Effect.gen(function*() {
    const address = yield* addressOf(options.listen ?? variable("EVT_LISTEN") ?? "127.0.0.1:8080")
    const tls = yield* tlsOf(variable("EVT_TLS_CERT"), variable("EVT_TLS_KEY"))
    const file = options.accounts ?? variable("EVT_ACCOUNTS")
    if (options.trust === (file !== undefined)) {
      return yield* new Usage({
        message:
          "who may do what? Give EVT_ACCOUNTS (--accounts), a file of accounts; or --trust, on a loopback address"
      })
    }
    if (options.trust && !isLoopback(address)) {
      return yield* new Usage({
        message: `--trust is for loopback addresses, not for ${address.host}: give EVT_ACCOUNTS`
      })
    }
    if (options.archive && variable("EVT_HISTORY_URL") === undefined) {
      return yield* new Usage({ message: "--archive needs EVT_HISTORY_URL, the database that events are archived to" })
    }
    const { NodeServer, Rpc, Ftn18 } = yield* load(
      async () => ({
        NodeServer: await import("../../layers/network/nodeServer.js"),
        Rpc: await import("../../layers/rpc/server.js"),
        Ftn18: await import("../../ftn18.js")
      }),
      needed
    )
    const serving = (stream: Database.Database) =>
      Effect.gen(function*() {
        const accounts = file === undefined ? undefined : yield* Accounts.ofFile(file)
        const users = accounts?.layer ?? trusting({ administer: true })
        const server = yield* NodeServer.make({ ...address, tls })
        const ground = Layer.mergeAll(
          Layer.succeed(EventStream.EventStream, stream),
          Layer.succeed(NodeServer.NodeServer, server),
          users
        )
        const Routes = Layer.scopedDiscard(Effect.gen(function*() {
          const events = yield* Http.events()
          yield* server.http("/", HttpRouter.concat(events, Monitor.routes(stream, yield* Access)))
        }))
        const secureChannel = options.trust || options.behindProxy ? "proxy" : "tls"
        yield* Layer.build(Layer.provide(
          Layer.mergeAll(Routes, Rpc.layerNode(), Ftn18.layerServer({ secureChannel })),
          ground
        ))
        const { host, port, secure } = server
        const at = `${host.includes(":") ? `[${host}]` : host}:${port}`
        const http = `http${secure ? "s" : ""}://${at}`
        const lines = [
          `serves the stream ${stream.stream} at ${http}`,
          `RPC: ws${secure ? "s" : ""}://${at}/rpc, ${http}/rpc`,
          `FTN18: ws${secure ? "s" : ""}://${at}/ftn18, ${http}/ftn18`,
          `HTTP and Server-Sent Events: ${http}/events, described by ${http}/openapi.json`,
          `health: ${http}/health/live, ${http}/health/ready; metrics, for who administers: ${http}/metrics`,
          accounts === undefined
            ? "believes whatever name a caller gives"
            : `${accounts.count} accounts of ${file}, which is read again at SIGHUP`,
          ...(options.archive ? ["archives to EVT_HISTORY_URL"] : []),
          ...(options.discard ? ["discards what everybody has"] : []),
          ...(secure || isLoopback(address) || options.behindProxy
            ? []
            : ["warning: without TLS, passwords can be read on their way; give EVT_TLS_CERT and EVT_TLS_KEY"])
        ]
        if (options.json) yield* Output.json({ url: http, stream: stream.stream })
        else for (const line of lines) yield* Output.note(`evt: ${line}`)
        yield* endsWell
        return yield* Effect.never
      }).pipe(Effect.scoped)

    yield* Database.withStream(serving, {
      sequencer: "on",
      ...(options.archive ? { archiver: {} } : {}),
      ...(options.discard ? { discarder: {} } : {})
    })
  })).pipe(
    Command.withDescription("Serves the stream by RPC, FTN18, HTTP and Server-Sent Events, until SIGTERM or Ctrl-C")
  )
