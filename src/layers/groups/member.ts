/**
 * Consumer groups: `run` with partitions, in any number of processes.
 *
 * A partition is the events of the keys whose hash leaves its number. Each has a cursor row with an epoch, and a lease: it
 * is opened, worked on and fenced as a consumer of its own is, by the same code (`Pusher.open`, `runner`). What is added is
 * who opens which:
 *
 * - the first run lays the partitions out at the consumer's cursor, as the consumer's active receiver (`layout`);
 * - each run is a member: it holds a lease by a name of its own, renewed with all the others of the process in one
 *   statement; members and owners are what the lease table says at the moment, there is no other state and nobody who leads;
 * - once a second, or a third of the lease time, it looks at all that by one small read (`view`), from which everybody comes
 *   to the same assignment (`streams/Group`, `streams/Assignment`);
 * - a partition is given up after the batch in hand, with its cursor; who should have it sees it free and claims it. What a
 *   dead member had is free when its leases have run out.
 *
 * One tail reads the log for all of them, and each partition picks its own rows from it in memory; only one that has fallen
 * far behind reads pages of its own, which the database filters. Cursors of partitions that see nothing of their own are
 * moved together, with the next look, in one statement.
 *
 * Why the order of a key holds: its events are in one partition of a layout; the partition's next owner starts at its
 * cursor, which nobody else can move from the moment of its claim on, which raises the epoch.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { randomBytes } from "node:crypto"
import type { Consumer } from "../../Consumer.js"
import { ConsumerBusy, ConsumerFenced, NotRegistered } from "../../EventStreamError.js"
import * as Metrics from "../../internal/metrics.js"
import type { GroupView } from "../../services/EventStore.js"
import type { RunOptions, SubscribeError } from "../../services/Pusher.js"
import * as Group from "../../streams/Group.js"
import { hasPartitions, type Ports, type Subscription } from "../Pusher.js"
import { identOf, reconnecting } from "../reader.js"
import { Reopen } from "../runner/committing.js"
import { Paused } from "../runner/parked.js"
import { memberIdent, partitionIdent } from "../sql/place.js"
import { layOut } from "./layout.js"

/** A look is due at least so often, in milliseconds: not everywhere is a process told of another's coming and going. */
const longestInterval = 1000

/** How long the end of a member waits to say where the group is. */
const patience = "1 second"

/** A partition is to be given back, and nothing of it is in hand. */
class Leaving {
  readonly _tag = "Leaving"
}

/** The consumer has no partitions any more. */
export class Whole {
  readonly _tag = "Whole"
}

/** What a member does with a partition that it has opened: handles batch after batch from `next`, for ever. */
export type Work<R> = (
  subscription: Subscription,
  next: Subscription["next"]
) => Effect.Effect<never, any, R>

/** Is a member until it is interrupted, or the consumer has no partitions any more (`Whole`). */
export const run = <R>(
  ports: Ports,
  consumer: Consumer,
  partitions: number,
  options: RunOptions<any, any>,
  work: Work<R>
): Effect.Effect<never, any, R> =>
  Effect.scoped(Effect.gen(function*() {
    const { leases, open, shutdown, store, ttl } = ports
    const ident = yield* identOf("run", consumer)
    const retry = reconnecting(options.reconnect)
    const found = yield* layOut(ports, consumer, ident, partitions, options)
    if (found !== partitions) return yield* hasPartitions(ident, found, partitions)
    yield* shutdown.join

    const me = randomBytes(8).toString("hex")
    /** Held until the member resigns. Lost, it is taken again: what is in hand has leases of its own. */
    const joined = yield* Deferred.make<void, SubscribeError>()
    const membership = yield* Effect.forkScoped(
      Effect.forever(Effect.scoped(Effect.gen(function*() {
        const held = yield* retry(leases.hold({ ident: memberIdent(ident, me), owner: me }, "takeOver"))
        yield* Effect.logInfo(`${ident}: ${me} has joined`)
        yield* Deferred.succeed(joined, undefined)
        yield* held.lost
        yield* Effect.logWarning(`${ident}: ${me} was not heard of for too long: others may have what it had`)
      }))).pipe(
        Effect.catchAll((error) =>
          Deferred.fail(joined, error._tag === "StoreError" ? error : new NotRegistered({ consumer: ident }))
        )
      )
    )
    yield* Deferred.await(joined)
    const resign = Fiber.interrupt(membership)
    yield* Effect.addFinalizer(() => Effect.logInfo(`${ident}: ${me} has left`))

    /** Partitions that have seen nothing of their own up to there. */
    const passed = new Map<number, { readonly partition: number; readonly epoch: bigint; readonly upTo: bigint }>()
    let last: GroupView | undefined
    let of = partitions

    const send = Effect.suspend(() => {
      const moves = [...passed.values()]
      // the consumer's cursor follows the smallest of the last look
      const behind = last !== undefined && last.partitions.length > 0 &&
        last.partitions.every(({ cursor }) => cursor > last!.cursor)
      return Effect.tap(
        store.group({ ident, epoch: behind ? last!.epoch : undefined, passed: moves }),
        (seen) => {
          for (const move of moves) if (passed.get(move.partition) === move) passed.delete(move.partition)
          last = seen
        }
      )
    })

    const view: Effect.Effect<GroupView, SubscribeError | Whole> = Effect.gen(function*() {
      const seen = yield* retry(send)
      if (seen === undefined) return yield* new NotRegistered({ consumer: ident })
      if (seen.partitions.length === 0) return yield* Effect.fail(new Whole())
      if (seen.partitions.length !== of) {
        of = seen.partitions.length
        yield* Effect.logWarning(
          `${ident}: has ${of} partitions now. This run goes on with them, the next one has to be given that number`
        )
      }
      // best effort: what the dead have left behind is seen again
      if (seen.dead.length > 0) yield* Effect.ignore(store.release(seen.dead))
      yield* Metrics.sees(ident, seen.members.length)
      return seen
    })

    const say = (partition: number, what: Metrics.Rebalanced, text: string) =>
      Effect.zipRight(
        Metrics.rebalanced(ident, what),
        (what === "lost" ? Effect.logWarning : Effect.logInfo)(`${partitionIdent(ident, partition)}: ${text}`)
      )

    const session = (hand: Group.Hand): Effect.Effect<never, any, R> =>
      Effect.scoped(Effect.gen(function*() {
        const { partition } = hand
        const dead = last?.partitions[partition]?.lease?.owner
        const subscription = yield* open(consumer, { ...options, register: undefined, whenBusy: "fail" }, {
          group: {
            partition: { number: partition, of: hand.of },
            owner: me,
            passed: (upTo, epoch) => passed.set(partition, { partition, epoch, upTo })
          }
        })
        yield* hand.claimed(subscription.epoch)
        yield* say(
          partition,
          "taken",
          dead === undefined || dead === me ? `${me} has it` : `${me} took over from ${dead}`
        )
        const leaving = Effect.zipRight(hand.leaving, Effect.fail(new Leaving()))
        // what need not be waited for would win every race
        const next = Effect.suspend(() =>
          hand.isLeaving() ? Effect.fail(new Leaving()) : Effect.raceFirst(subscription.next, leaving)
        )
        const giveBack = Effect.suspend(() => {
          const own = passed.get(partition)
          // of a session before this one it may be beyond what is not handled now
          return own?.epoch === subscription.epoch ? subscription.step(own.upTo) : Effect.void
        })
        return yield* Effect.tapError(
          work(subscription, next as Subscription["next"]),
          (error) =>
            error instanceof Leaving
              ? Effect.zipRight(giveBack, say(partition, "handed over", `handed over by ${me}`))
              : Effect.void
        )
      }))

    /** The next look says how it goes on. */
    const onPartition = (hand: Group.Hand): Effect.Effect<void, any, R> =>
      session(hand).pipe(
        Effect.catchAll((error) =>
          error instanceof ConsumerFenced
            ? say(hand.partition, "lost", `${me} has lost it. ${error.message}`)
            // somebody else was faster, or it is gone
            : error instanceof Leaving || error instanceof Reopen || error instanceof Paused ||
                error instanceof ConsumerBusy || error instanceof NotRegistered
            ? Effect.void
            : Effect.fail(error)
        ),
        Effect.onInterrupt(() =>
          hand.isStopped()
            ? say(hand.partition, "lost", `${me} has lost it: somebody else has it, or the consumer was changed`)
            : Effect.void
        )
      )

    yield* Group.run({
      me,
      look: Effect.map(view, ({ members, partitions, paused }) => ({ members, partitions, paused })),
      interval: Math.min(longestInterval, ttl / 3),
      work: onPartition,
      ending: shutdown.ending,
      resign,
      rebalanced: (owned) => Metrics.owns(ident, owned)
    }).pipe(
      // twice: what is passed first, then the smallest of all
      Effect.ensuring(Effect.ignore(Effect.timeoutOption(
        Effect.disconnect(Effect.interruptible(
          Effect.zipRight(send, send)
        )),
        patience
      )))
    )
    return yield* Effect.interrupt
  }))
