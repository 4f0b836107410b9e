/**
 * Holding leases: one active receiver for each name, renewed together by one fiber.
 *
 * Who has a lease is decided by the database and its clock. The owner stops believing in it by its own monotonic clock,
 * two thirds of the ttl after it sent its last successful renewal: before anybody else can get it, however the clocks
 * differ. That only decides who waits; a late owner is kept out by the epoch.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

/** What to do while another one has the lease. */
export type WhenBusy = "wait" | "takeOver" | "fail"

export interface Key {
  readonly ident: string
  readonly owner: string
}

/** The answer to a claim; `Claimed` carries whatever the store says to its owner. */
export type Answer<C> =
  | (C & { readonly _tag: "Claimed" })
  | { readonly _tag: "Busy"; readonly owner: string; readonly expiresIn: number }
  | { readonly _tag: "Paused" }
  | { readonly _tag: "Partitioned"; readonly partitions: number }
  | { readonly _tag: "NotRegistered" }

export interface Options<C, E> {
  readonly ttl: Duration.Duration
  readonly claim: (request: Key & { readonly ttl: number; readonly force: boolean }) => Effect.Effect<Answer<C>, E>
  readonly renew: (leases: ReadonlyArray<Key>, ttl: number) => Effect.Effect<ReadonlyArray<Key>, E>
  readonly release: (leases: ReadonlyArray<Key>) => Effect.Effect<void, E>
}

export interface Held<C> {
  readonly claim: C
  /** Succeeds when the lease is lost. */
  readonly lost: Effect.Effect<void>
  readonly isLost: () => boolean
  /** It is not given back, but runs out: its owner is about to come back for it. */
  readonly keep: () => void
}

/** A claim that was not granted. */
export type Refusal<C> = Exclude<Answer<C>, { readonly _tag: "Claimed" | "Paused" }>

export interface Leases<C, E> {
  /** Holds the lease until the scope closes. Fails with the last answer where it cannot be had. */
  readonly hold: (
    key: Key,
    whenBusy: WhenBusy
  ) => Effect.Effect<Held<C>, E | Refusal<C>, Scope.Scope>
}

interface Entry extends Key {
  /** Milliseconds of the monotonic clock. */
  believedUntil: number
  readonly lost: Deferred.Deferred<void>
}

/** A lease that was given back is seen by who waits for it within this time, one that ran out at once. */
const longestWait = 1000
const shortestWait = 20

const monotonic = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos / 1_000_000n))

export const make = <C, E>(options: Options<C, E>): Effect.Effect<Leases<C, E>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const ttl = Math.ceil(Duration.toMillis(options.ttl))
    const entries = new Set<Entry>()
    const some = yield* Effect.makeLatch(false)

    const expire = Effect.map(monotonic, (now) => {
      for (const entry of entries) {
        if (now < entry.believedUntil) continue
        entries.delete(entry)
        Deferred.unsafeDone(entry.lost, Effect.void)
      }
    })

    /** One statement for all; what is not renewed for certain runs out. */
    const renew = Effect.gen(function*() {
      const asked = [...entries]
      const sent = yield* monotonic
      const kept = yield* options.renew(asked.map(({ ident, owner }) => ({ ident, owner })), ttl)
      const owners = new Set(kept.map(({ ident, owner }) => `${owner} ${ident}`))
      for (const entry of asked) {
        entry.believedUntil = owners.has(`${entry.owner} ${entry.ident}`) ? sent + ttl * 2 / 3 : 0
      }
      return ttl / 3
    }).pipe(Effect.orElseSucceed(() => ttl / 30))

    const soonest = () => Math.min(...[...entries].map(({ believedUntil }) => believedUntil))

    const renewing = Effect.gen(function*() {
      yield* expire
      if (entries.size === 0) {
        yield* some.close
        yield* some.await
        yield* Effect.sleep(ttl / 3)
      } else {
        // a renewal that hangs must not keep the owner from noticing
        const left = Math.max(1, soonest() - (yield* monotonic))
        const pause = yield* Effect.timeoutTo(Effect.disconnect(Effect.interruptible(renew)), {
          duration: left,
          onSuccess: (pause) => pause,
          onTimeout: () => 0
        })
        yield* expire
        yield* Effect.sleep(pause)
      }
    })
    yield* Effect.forkScoped(Effect.forever(renewing))

    /** Best effort: it runs out by itself. */
    const giveBack = (key: Key): Effect.Effect<void> =>
      Effect.ignore(Effect.timeoutOption(
        Effect.interruptible(Effect.flatMap(Effect.forkDaemon(options.release([key])), Fiber.join)),
        "5 seconds"
      ))

    const acquire = (
      key: Key,
      whenBusy: WhenBusy,
      restore: <A, E2, R>(effect: Effect.Effect<A, E2, R>) => Effect.Effect<A, E2, R>
    ): ReturnType<Leases<C, E>["hold"]> =>
      Effect.gen(function*() {
        while (true) {
          const sent = yield* monotonic
          // interrupted on its way it may have been granted
          const answer = yield* restore(options.claim({ ...key, ttl, force: whenBusy === "takeOver" })).pipe(
            Effect.onInterrupt(() => giveBack(key))
          )
          if (answer._tag === "Claimed") {
            const entry: Entry = { ...key, believedUntil: sent + ttl * 2 / 3, lost: yield* Deferred.make<void>() }
            // the same receiver has come back: the place that it had is not given back any more
            for (const older of entries) {
              if (older.ident !== key.ident || older.owner !== key.owner) continue
              entries.delete(older)
              Deferred.unsafeDone(older.lost, Effect.void)
            }
            entries.add(entry)
            some.unsafeOpen()
            yield* Effect.addFinalizer(() => entries.delete(entry) ? giveBack(key) : Effect.void)
            return {
              claim: answer,
              lost: Deferred.await(entry.lost),
              isLost: () => !entries.has(entry),
              keep: () => entries.delete(entry)
            }
          }
          // whoever comes waits until it is resumed
          if (answer._tag === "Paused") {
            yield* restore(Effect.sleep(longestWait))
            continue
          }
          if (answer._tag !== "Busy" || whenBusy === "fail") return yield* Effect.fail(answer as Refusal<C>)
          yield* restore(Effect.sleep(Math.min(Math.max(answer.expiresIn, shortestWait), longestWait)))
        }
      })

    return {
      // not interruptible between a claim and its finalizer
      hold: (key, whenBusy) => Effect.uninterruptibleMask((restore) => acquire(key, whenBusy, restore))
    }
  })
