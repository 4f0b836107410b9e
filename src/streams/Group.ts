/**
 * The loop of one member of a group: looks who is there and who has what, asks for the partitions that it should own when
 * they are free, and lets go of the others after what it has in hand.
 *
 * Every member comes to its own conclusion from what it saw at its own moment. Where two differ nothing happens but that one
 * of them waits: a partition is owned by who has its lease, and its epoch keeps out who has lost it. Both see the same soon,
 * and what is balanced stays as it is (`Assignment`).
 *
 * A look is due after `interval`, as soon as a lease of somebody else runs out, when a partition of ours has ended, and more
 * often while a partition is awaited that another member still has in hand.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { assign } from "./Assignment.js"

/** What a look says. */
export interface View {
  readonly members: ReadonlyArray<Lease>
  /** By number. A lease that has run out is as good as none. */
  readonly partitions: ReadonlyArray<{ readonly epoch: bigint; readonly lease: Lease | undefined }>
  /** Nobody may take any. */
  readonly paused: boolean
}

/** Whose it is, and for how many milliseconds it lasts unless it is renewed. */
export interface Lease {
  readonly owner: string
  readonly expiresIn: number
}

/** A partition that this member works on, or is about to. */
export interface Hand {
  readonly partition: number
  readonly of: number
  /** It has been claimed, with this epoch. */
  readonly claimed: (epoch: bigint) => Effect.Effect<void>
  /** Succeeds when it is to be given back after what is in hand. */
  readonly leaving: Effect.Effect<void>
  readonly isLeaving: () => boolean
  /** Whether it was interrupted because somebody has changed what it works on. */
  readonly isStopped: () => boolean
}

export interface Options<E, X, R> {
  readonly me: string
  readonly look: Effect.Effect<View, E, R>
  /** Milliseconds. */
  readonly interval: number
  /** Claims a partition, works on it and gives it back. Its end is no failure: whoever should have it claims it again. */
  readonly work: (hand: Hand) => Effect.Effect<void, X, R>
  /** Succeeds when nothing new may be begun. */
  readonly ending: Effect.Effect<void>
  /** From then on others take what this member lets go of. */
  readonly resign: Effect.Effect<void, never, R>
  readonly rebalanced: (owned: number) => Effect.Effect<void>
}

interface InHand extends Hand {
  epoch: bigint | undefined
  readonly leave: Effect.Effect<unknown>
  /** What it works on is not its own any more. */
  readonly stop: Effect.Effect<void>
}

/** Looks are so many milliseconds apart at least, and while another one's partition is awaited. */
const soonest = 20
const whileAwaited = 100

/** Ends when all that was in hand at the end is given back. Interrupted, it interrupts what is in hand. */
export const run = <E, X, R>(options: Options<E, X, R>): Effect.Effect<void, E | X, R> =>
  Effect.scoped(Effect.gen(function*() {
    const { interval, me } = options
    const scope = yield* Effect.scope
    const failed = yield* Deferred.make<never, X>()
    const changed = yield* Effect.makeLatch(false)
    const hands = new Map<number, InHand>()
    const owned = () => [...hands.values()].filter(({ epoch }) => epoch !== undefined).length

    const start = (partition: number, of: number): Effect.Effect<void, never, R> =>
      Effect.gen(function*() {
        const leaving = yield* Deferred.make<void>()
        let left = false
        let stopped = false
        const hand: InHand = {
          partition,
          of,
          epoch: undefined,
          claimed: (epoch) =>
            Effect.suspend(() => {
              hand.epoch = epoch
              return options.rebalanced(owned())
            }),
          leaving: Deferred.await(leaving),
          isLeaving: () => left,
          isStopped: () => stopped,
          leave: Effect.suspend(() => {
            left = true
            return Deferred.succeed(leaving, undefined)
          }),
          stop: Effect.suspend(() => {
            if (stopped) return Effect.void
            stopped = true
            return Fiber.interruptFork(fiber)
          })
        }
        hands.set(partition, hand)
        // interrupted before it has begun it would leave its hand behind
        const fiber: Fiber.RuntimeFiber<void, X> = yield* Effect.uninterruptible(Effect.forkIn(
          Effect.onExit(Effect.interruptible(options.work(hand)), (exit) => {
            hands.delete(partition)
            changed.unsafeOpen()
            return Effect.zipRight(
              Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)
                ? Deferred.failCause(failed, exit.cause)
                : Effect.void,
              options.rebalanced(owned())
            )
          }),
          scope
        ))
      })

    /** One look and what follows from it; in how many milliseconds the next one is due. */
    const round = Effect.gen(function*() {
      changed.unsafeClose()
      const { members, paused, ...seen } = yield* options.look
      const partitions = seen.partitions.map(({ epoch, lease }) => ({
        epoch,
        lease: lease !== undefined && lease.expiresIn > 0 ? lease : undefined
      }))
      // what was claimed since the look was sent is not in it
      const owners = partitions.map(({ lease }, partition) =>
        lease?.owner ?? (hands.get(partition)?.epoch === undefined ? undefined : me)
      )
      const target = paused
        ? partitions.map(() => undefined)
        : assign(members.map(({ owner }) => owner), owners)
      for (const hand of hands.values()) {
        const row = partitions[hand.partition]
        if (
          hand.of !== partitions.length || row === undefined ||
          (hand.epoch !== undefined && row.epoch > hand.epoch)
        ) yield* hand.stop
        else if (target[hand.partition] !== me) yield* hand.leave
      }
      let awaited = false
      for (const [partition, owner] of target.entries()) {
        if (owner !== me || hands.has(partition)) continue
        const lease = partitions[partition]!.lease
        if (lease === undefined || lease.owner === me) yield* start(partition, partitions.length)
        else awaited = true
      }
      const others = [...members, ...partitions.flatMap(({ lease }) => lease === undefined ? [] : [lease])]
        .filter(({ owner }) => owner !== me).map(({ expiresIn }) => expiresIn + 1)
      return Math.max(soonest, Math.min(awaited ? Math.min(whileAwaited, interval) : interval, ...others))
    })

    const rounds = Effect.forever(Effect.flatMap(round, (due) =>
      Effect.raceFirst(
        Effect.sleep(due),
        Effect.zipRight(changed.await, Effect.sleep(soonest))
      )))

    yield* Effect.raceFirst(Effect.raceFirst(rounds, Deferred.await(failed)), options.ending)
    const givenBack = Effect.gen(function*() {
      yield* options.resign
      for (const hand of hands.values()) yield* hand.leave
      while (hands.size > 0) {
        yield* changed.await
        changed.unsafeClose()
      }
    })
    yield* Effect.raceFirst(givenBack, Deferred.await(failed))
  })) as Effect.Effect<void, E | X, Exclude<R, Scope.Scope>>
