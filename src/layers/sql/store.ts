/**
 * The event store on SQL: the statements of a dialect, run on the right connection, with errors that say what to do.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import {
  EventsDiscarded,
  ForeignTransaction,
  InsideTransaction,
  type InvalidOption,
  NotInTransaction,
  type SchemaMismatch,
  StoreError,
  TransactionLost,
  type UnsupportedDatabase
} from "../../EventStreamError.js"
import { classify, hasCode } from "../../internal/sqlError.js"
import type { Service as EventStore, Step, Stepped, Where } from "../../services/EventStore.js"
import * as Together from "../../streams/Together.js"
import * as Append from "./append.js"
import { detached } from "./Database.js"
import { open, type OpenOptions } from "./open.js"
import { partsOf } from "./place.js"
import { idempotent, whileBusy } from "./retry.js"
import * as Transaction from "./transaction.js"

export const storeError = (operation: string) => (cause: SqlError) =>
  new StoreError({ operation, ...classify(cause), cause })

type Emit = ReturnType<EventStore["emit"]>

export const make = (
  options: OpenOptions
): Effect.Effect<EventStore, StoreError | UnsupportedDatabase | SchemaMismatch | InvalidOption> =>
  Effect.gen(function*() {
    const { database, dialect, stream } = yield* open(options)
    const head = { last: 0n }
    const listeners = new Set<(where: Where) => void>()
    const hint = (where: Where) => {
      for (const listener of listeners) listener(where)
    }
    const committed = () => hint("here")

    const run = <A>(operation: string, effect: Effect.Effect<A, SqlError>): Effect.Effect<A, StoreError> =>
      Effect.mapError(idempotent(effect), storeError(operation))

    const emitFailed = (cause: SqlError) =>
      Effect.fail(
        // PostgreSQL: the transaction was aborted by an earlier error
        hasCode(cause, "25P02") ? new TransactionLost({ operation: "emit", cause }) : storeError("emit")(cause)
      )

    const emit: EventStore["emit"] = (events) =>
      Effect.matchEffect(database.ambient, {
        onFailure: emitFailed,
        onSuccess: (ambient) =>
          Effect.withFiberRuntime((fiber): Emit => {
            if (ambient._tag === "None") return Effect.fail(new NotInTransaction({ operation: "emit" }))
            if (ambient._tag === "Foreign") return Effect.fail(new ForeignTransaction({ operation: "emit" }))
            if (events.length === 0) return Effect.void
            const [conn, depth] = ambient.transaction
            const current = Option.getOrUndefined(Context.getOption(fiber.currentContext, Transaction.Current))
            const state = current?.conn === conn ? current : undefined
            if (state?.open === false) return Effect.fail(new NotInTransaction({ operation: "emit" }))
            return Effect.matchEffect(dialect.emit(conn, events), {
              onFailure: emitFailed,
              onSuccess: ({ stored, token }) => {
                if (!stored) return Effect.fail(new TransactionLost({ operation: "emit" }))
                if (state === undefined) committed()
                else {
                  state.emitted = true
                  if (token !== undefined && depth === 0 && events[0]!.dedupeKey === null) {
                    state.witness = { token, uid: events[0]!.uid }
                  }
                }
                return Effect.void
              }
            })
          })
      })

    const append = yield* Append.make(database, dialect, head)
    const look: EventStore["look"] = (options) =>
      Effect.tap(run("look", database.reading((conn) => dialect.look(conn, options))), (found) => {
        if (found.head > head.last) head.last = found.head
      })
    yield* look({ ident: undefined, after: 0n, window: 0 })

    const outside: EventStore["outside"] = <A, E, R>(operation: string, effect: Effect.Effect<A, E, R>) =>
      Effect.contextWithEffect((context: Context.Context<R>): Effect.Effect<A, E | InsideTransaction | StoreError, R> =>
        Option.isNone(Context.getOption(context, SqlClient.TransactionConnection))
          ? effect
          : Effect.flatMap(
            Effect.mapError(database.ambient, storeError(operation)),
            (ambient): Effect.Effect<A, E | InsideTransaction, R> =>
              ambient._tag === "Own" ? Effect.fail(new InsideTransaction({ operation })) : detached(effect)
          )
      )

    /** A statement of the caller's transaction that decides whether it may commit. */
    const within = (f: (conn: Connection) => Effect.Effect<Stepped, SqlError>): ReturnType<EventStore["stepWithin"]> =>
      Effect.flatMap(
        Effect.mapError(database.ambient, storeError("step")),
        (ambient): ReturnType<EventStore["stepWithin"]> =>
          ambient._tag === "None"
            ? Effect.fail(new NotInTransaction({ operation: "step" }))
            : ambient._tag === "Foreign"
            ? Effect.fail(new ForeignTransaction({ operation: "step" }))
            : Effect.mapError(f(ambient.transaction[0]), storeError("step"))
      )

    const stepAlone = (step: Step) => idempotent(database.reserved((conn) => dialect.step(conn, step)))
    const stepTogether = Together.make({
      alone: stepAlone,
      together: (steps) => whileBusy(database.reserved((conn) => dialect.steps(conn, steps))),
      maxItems: 100,
      patience: "100 millis"
    })

    return {
      stream,
      sequenced: dialect.sequenced,
      emit,
      transaction: Transaction.make(database, dialect, committed),
      statement: dialect.statement,
      append: (events) => Effect.tap(append(events), committed),
      sequence: (limit) => run("sequence", database.reserved((conn) => dialect.sequence(conn, limit))),
      look,
      page: (options) => run("page", database.reading((conn) => dialect.page(conn, options))),
      register: (registration) =>
        Effect.flatMap(
          run("register", database.reserved((conn) => dialect.register(conn, registration))),
          ({ cursor, discardedTo }) =>
            cursor === undefined
              ? Effect.fail(
                new EventsDiscarded({
                  consumer: registration.ident,
                  after: (registration.from as { readonly after: bigint }).after,
                  discardedTo
                })
              )
              : Effect.succeed(cursor)
        ),
      unregister: (ident) => run("unregister", database.reserved((conn) => dialect.unregister(conn, ident))),
      acknowledge: (ident, upTo) =>
        run("acknowledge", database.reserved((conn) => dialect.acknowledge(conn, ident, upTo))),
      claim: (request) =>
        run(
          "claim",
          database.reserved((conn) =>
            partsOf(request.ident).member === undefined ? dialect.claim(conn, request) : dialect.join(conn, request)
          )
        ),
      renew: (leases, ttl) =>
        leases.length === 0
          ? Effect.succeed([])
          : run("renew", database.reserved((conn) => dialect.renew(conn, leases, ttl))),
      release: (leases) =>
        leases.length === 0 ? Effect.void : run("release", database.reserved((conn) => dialect.release(conn, leases))),
      layOut: (request) => run("layOut", database.reserved((conn) => dialect.layOut(conn, request))),
      group: (request) =>
        run(
          "group",
          // who only looks does not wait for the one who writes
          (request.epoch === undefined && request.passed.length === 0 ? database.reading : database.reserved)((conn) =>
            dialect.group(conn, request)
          )
        ),
      step: (step) =>
        Effect.mapError(step.deadLetters.length === 0 ? stepTogether(step) : stepAlone(step), storeError("step")),
      stepWithin: (step) => within((conn) => dialect.stepWithin(conn, step)),
      pause: (pause) => run("pause", database.reserved((conn) => dialect.pause(conn, pause))),
      resume: (ident, actor) => run("resume", database.reserved((conn) => dialect.resume(conn, ident, actor))),
      parkedKeys: (ident) => run("parkedKeys", database.reading((conn) => dialect.parkedKeys(conn, ident))),
      letters: (which) => run("deadLetters", database.reading((conn) => dialect.letters(conn, which))),
      redrive: (which, actor) => run("redrive", database.reserved((conn) => dialect.redrive(conn, which, actor))),
      drop: (which, actor) => run("drop", database.reserved((conn) => dialect.drop(conn, which, actor))),
      settle: (settled) => run("settle", database.reserved((conn) => dialect.settle(conn, settled))),
      settleWithin: (settled) => within((conn) => dialect.settleWithin(conn, settled)),
      consumers: run("consumers", database.reading(dialect.consumers)),
      reset: (request) => run("reset", database.reserved((conn) => dialect.reset(conn, request))),
      remove: (request) => run("remove", database.reserved((conn) => dialect.remove(conn, request))),
      redact: (which, actor) => run("redact", database.reserved((conn) => dialect.redact(conn, which, actor))),
      restored: (actor, atLeast) =>
        run("restored", database.reserved((conn) => dialect.restored(conn, actor, atLeast))),
      audit: (options) => run("audit", database.reading((conn) => dialect.audit(conn, options))),
      generations: run("generations", database.reading(dialect.generations)),
      retention: run("retention", database.reading(dialect.retention)),
      vitals: run("vitals", database.reading(dialect.vitals)),
      settings: run("settings", database.reserved(dialect.settings)),
      sums: (from, to) => run("sums", database.reading((conn) => dialect.sums(conn, from, to))),
      discard: (discard) => run("discard", database.reserved((conn) => dialect.discard(conn, discard))),
      remaining: (staleAfter) => run("discard", database.reading((conn) => dialect.remaining(conn, staleAfter))),
      owns: (sql) => Effect.mapError(database.owns(sql), storeError("owns")),
      hint,
      changes: dialect.changes === undefined || options.reader === undefined
        ? undefined
        : run("changes", database.reading(dialect.changes)),
      hints: (listener) =>
        Effect.acquireRelease(
          Effect.sync(() => void listeners.add(listener)),
          () => Effect.sync(() => void listeners.delete(listener))
        ),
      outside
    } satisfies EventStore
  }).pipe(
    Effect.catchTag("SqlError", (cause) => Effect.fail(storeError("open")(cause)))
  )
