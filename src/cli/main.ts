#!/usr/bin/env node
/** The command `evt`: looks after a stream of events. `evt --help` says what it can do. */
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Span from "@effect/cli/HelpDoc/Span"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import { createRequire } from "node:module"
import { arrange } from "./arguments.js"
import { exitCodes, onInterrupt, reasons, tell } from "./CliError.js"
import { archive } from "./commands/archive.js"
import { consumers } from "./commands/consumers.js"
import { deadLetters } from "./commands/deadLetters.js"
import { discard } from "./commands/discard.js"
import { doctor } from "./commands/doctor.js"
import { emit } from "./commands/emit.js"
import { hash } from "./commands/hash.js"
import { history } from "./commands/history.js"
import { migrate } from "./commands/migrate.js"
import { poll } from "./commands/poll.js"
import { restored } from "./commands/restored.js"
import { serve } from "./commands/serve.js"
import { status } from "./commands/status.js"
import { tail } from "./commands/tail.js"
import * as Output from "./output.js"
import { plain, withoutColours } from "./text.js"

const evt = Command.make("evt").pipe(
  Command.withDescription("Looks after a stream of events that commit with your data"),
  Command.withSubcommands([
    migrate,
    status,
    emit,
    poll,
    tail,
    consumers,
    deadLetters,
    archive,
    discard,
    history,
    doctor,
    restored,
    serve,
    hash
  ])
)

const footer = HelpDoc.blocks([
  HelpDoc.h1("ENVIRONMENT"),
  HelpDoc.p("DATABASE_URL: postgres://…, mysql://…, mariadb://…, sqlite:path or a path"),
  HelpDoc.p("EVT_PREFIX, EVT_SCHEMA: prefix (evt_) and schema of the tables"),
  HelpDoc.p("EVT_HISTORY_URL: the database of archived events, in the same forms"),
  HelpDoc.p(
    "EVT_LISTEN: where evt serve listens (127.0.0.1:8080); EVT_TLS_CERT, EVT_TLS_KEY: files of its certificate"
  ),
  HelpDoc.p(
    "EVT_ACCOUNTS: the file of its accounts, [{\"user\", \"password\": hash, \"token\": hash, \"rights\"}], read again at SIGHUP"
  ),
  HelpDoc.h1("EXIT CODES"),
  HelpDoc.p("0: done; evt serve: ended by SIGTERM or Ctrl-C"),
  HelpDoc.p("1: it failed, standard error says why in one line (--verbose: with its cause)"),
  HelpDoc.p("2: the command or its input makes no sense, nothing was done"),
  HelpDoc.p("3: the database or the server cannot be reached, or its tables are not those that are needed"),
  HelpDoc.p("130: interrupted (Ctrl-C, SIGTERM)")
])

const { version } = createRequire(import.meta.url)("../../package.json") as { readonly version: string }

const run = Command.run(evt, { name: "evt", version, summary: Span.text("events that commit"), footer })

const words = process.argv.slice(2)
const verbose = words.includes("--verbose")

/** Help without colours where nobody sees them; errors are said at the end, once. */
const quietly = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.console, (console) =>
    Effect.withConsole(effect, {
      ...console,
      error: () => Effect.void,
      log: (text: unknown = "") =>
        Effect.ignore(Output.line(Output.coloured ? String(text) : withoutColours(String(text))))
    }))

const logger = Logger.make(({ cause, logLevel, message }) => {
  const text = (Array.isArray(message) ? message : [message]).map(String).join(" ")
  const why = Cause.isEmpty(cause) ? "" : `: ${tell(cause).message ?? "interrupted"}`
  const level = LogLevel.greaterThanEqual(logLevel, LogLevel.Warning) ? `${logLevel.label.toLowerCase()}: ` : ""
  process.stderr.write(`evt: ${level}${plain(text + why)}\n`)
})

const program = Output.ignoreClosed.pipe(
  Effect.zipRight(Effect.flatMap(arrange(words), (args) => run([process.execPath, "evt", ...args]))),
  Effect.as(exitCodes.ok),
  Effect.catchAllCause((cause) =>
    Cause.isInterruptedOnly(cause)
      ? Effect.failCause(cause as Cause.Cause<never>)
      : Effect.gen(function*() {
        const { code, message } = tell(cause)
        if (message !== undefined) yield* Output.note(`evt: ${message}`)
        if (verbose) { for (const why of reasons(cause)) yield* Output.note(`  because: ${why}`) }
        return code
      })
  ),
  Effect.provide(NodeContext.layer),
  quietly,
  Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
  Logger.withMinimumLogLevel(verbose ? LogLevel.Debug : LogLevel.Info)
)

NodeRuntime.runMain(program, {
  disableErrorReporting: true,
  disablePrettyLogger: true,
  teardown: (exit, onExit) => {
    if (Exit.isSuccess(exit)) return onExit(exit.value as unknown as number)
    onExit(Cause.isInterrupted(exit.cause) ? onInterrupt.code : exitCodes.failed)
  }
})
