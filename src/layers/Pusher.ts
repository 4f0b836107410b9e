/**
 * The Pusher on an event store: one tail and one renewing fiber for all subscribers of the layer.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import type { Consumer } from "../Consumer.js"
import { sharedDecoder, type StoredEvent } from "../Event.js"
import { ConsumerBusy, ConsumerFenced, InvalidOption, NotRegistered, type StoreError } from "../EventStreamError.js"
import * as Metrics from "../internal/metrics.js"
import { keyHash } from "../internal/keyHash.js"
import type { Claim, DeadLetter, Letter, Look, Part, Service as EventStore, Settled } from "../services/EventStore.js"
import type { Service as Poller } from "../services/Poller.js"
import type { AckError, Service, SubscribeError, SubscribeOptions } from "../services/Pusher.js"
import * as Idle from "../streams/Idle.js"
import * as Leases from "../streams/Leases.js"
import type { Shutdown } from "../streams/Shutdown.js"
import * as Tail from "../streams/Tail.js"
import {
  filterOf,
  horizon,
  identOf,
  isOf,
  notAhead,
  type Page,
  type Reader,
  reconnecting,
  select,
  toBatch
} from "./reader.js"
import * as Live from "./live.js"
import * as Runner from "./runner.js"
import { subscribing } from "./subscribing.js"
import { partitionIdent } from "./sql/place.js"
import { fenced, taken } from "./stepped.js"
import type { Looks } from "./Sequencer.js"

/** How long a receiver that vanished keeps its consumer. */
export const defaultTtl = Duration.seconds(15)

const keptRows = 20_000
const keptBytes = 16 * 1024 * 1024

/**
 * How long the tail waits for the background sequencer, in milliseconds, before it asks the database itself: for an answer
 * that is on its way, which it could not get sooner, and for a look that has not begun.
 */
const answerPatience = 50
const lookPatience = 5

/** What was looked at without finding anything that is wanted is said to the consumer after so many ids, or so long. */
const silentIds = 10_000n
const silentMillis = 1000

export interface Options {
  readonly idle: Schedule.Schedule<unknown, unknown> | undefined
  readonly ttl: Duration.Duration
  readonly shutdown: Shutdown
  /** Of the sequencer that runs in the background of this process. */
  readonly looks: Looks | undefined
}

/** A partition instead of the whole consumer. */
export interface OfGroup {
  readonly partition: Part
  /** The member of the group that it belongs to. */
  readonly owner: string
  /** It has seen nothing of its own up to there, and has nothing in hand: its cursor may move on. */
  readonly passed: (upTo: bigint, epoch: bigint) => void
}

/** Becomes the active receiver of a consumer, or of a partition, for as long as the scope. */
export type Open = (
  consumer: Consumer,
  options?: SubscribeOptions<any, any>,
  as?: { readonly receiver?: Receiver | undefined; readonly group?: OfGroup | undefined }
) => Effect.Effect<Subscription, SubscribeError, Scope.Scope>

/** A receiver elsewhere, which may come back after its connection was lost. */
export interface Receiver {
  /** The token of its lease, the same each time: its own lease does not keep it out. */
  readonly owner: string
  /** Where it goes on, by what it has in hand: not before the cursor. */
  readonly startAt: (claim: { readonly epoch: bigint; readonly cursor: bigint }) => bigint
}

/** What a run stands on. */
export interface Ports {
  readonly store: EventStore
  readonly open: Open
  readonly register: Poller["register"]
  readonly leases: Leases.Leases<Omit<Extract<Claim, { readonly _tag: "Claimed" }>, "_tag">, StoreError>
  readonly shutdown: Shutdown
  /** Of leases, milliseconds. */
  readonly ttl: number
}

/** A consumer that this process is the active receiver of. */
export interface Subscription {
  readonly ident: string
  readonly epoch: bigint
  /** Waits for the next page; empty if only what is not wanted was found. */
  readonly next: Effect.Effect<Page, SubscribeError>
  readonly decode: (page: Page) => ReturnType<typeof toBatch>
  /** Moves the cursor to an id that was offered. */
  readonly step: (upTo: bigint, deadLetters?: ReadonlyArray<DeadLetter>) => Effect.Effect<void, AckError>
  /** The same as the last statement of the transaction around it. */
  readonly stepWithin: (
    upTo: bigint,
    deadLetters: ReadonlyArray<DeadLetter>
  ) => Effect.Effect<void, AckError | Effect.Effect.Error<ReturnType<EventStore["stepWithin"]>>>
  /** Pauses the consumer. */
  readonly pause: (why: string) => Effect.Effect<void, AckError>
  /** The keys that it has parked, and how many events of each. */
  readonly parkedKeys: Effect.Effect<ReadonlyMap<string, number>, StoreError>
  /** Dead letters that are to be delivered again, the oldest first. */
  readonly redriven: Effect.Effect<ReadonlyArray<Letter>, StoreError>
  readonly decodeLetter: (letter: Letter) => any
  /** Whether its type is wanted. */
  readonly wants: (letter: Letter) => boolean
  readonly settle: (letter: Letter, failed: Settled["failed"]) => Effect.Effect<void, AckError>
  /** The same as the last statement of the transaction around it. */
  readonly settleWithin: (letter: Letter) => ReturnType<Subscription["stepWithin"]>
  readonly lost: Effect.Effect<never, ConsumerFenced>
  /** Its lease is not given back at the end: its receiver is about to come back. */
  readonly keep: () => void
  /** Fails if it is lost now. */
  readonly checkLease: Effect.Effect<void, ConsumerFenced>
}

/** Somebody wants the whole of a consumer that has partitions, or another number of them. */
export const hasPartitions = (consumer: string, partitions: number, asked?: number): InvalidOption =>
  new InvalidOption({
    option: "partitions",
    value: asked === undefined ? "left out" : String(asked),
    expected: `${partitions} (${consumer} has that many for Pusher.run; Consumers.repartition changes it)`
  })

export const make = (
  store: EventStore,
  reader: Reader,
  poller: Poller,
  options: Options
): Effect.Effect<
  { readonly service: Service; readonly open: Open; readonly openLive: Live.OpenLive },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const leases: Ports["leases"] = yield* Leases.make({
      ttl: options.ttl,
      claim: store.claim,
      renew: store.renew,
      release: store.release
    })
    const idle = yield* Idle.make(options.idle)
    yield* store.hints((where) => {
      Metrics.wokenUp(where)
      idle.hint()
    })
    const page = (after: bigint) =>
      store.page({ after, upTo: undefined, types: undefined, limit: Math.min(Live.tailPage, reader.mostRows) })
    /**
     * The last id, everything sequenced that was committed before. One probe serves the sequencer and the tail: what a
     * background sequencer has seen since the tail asked last is not asked again. One that fails, hangs or sleeps longer
     * than the tail does not answer in time, and the tail sequences by itself.
     */
    const { looks, shutdown, ttl } = options
    let seen = 0
    looks?.onGrown(idle.hint)
    const head = Effect.suspend(() => {
      if (looks === undefined) return reader.sequence()
      const fresh = Effect.suspend(() => {
        const { count, head } = looks.last()
        if (count === seen) return reader.sequence()
        seen = count
        return Effect.succeed(head)
      })
      return looks.last().count > seen
        ? fresh
        : Effect.zipRight(
          Effect.raceFirst(looks.next, Effect.sleep(looks.isLooking() ? answerPatience : lookPatience)),
          fresh
        )
    })
    const tail = yield* Tail.make<StoredEvent, StoreError>({
      // one round trip while events flow; when there was nothing, one that sequences and tells whether there is now
      read: (after, wasEmpty) =>
        Effect.flatMap(
          wasEmpty ? Effect.succeed([]) : page(after),
          (rows) =>
            rows.length > 0
              ? Effect.succeed(rows)
              : store.sequenced
              ? Effect.flatMap(head, (head) => head > after ? page(after) : Effect.succeed([]))
              : wasEmpty
              ? page(after)
              : Effect.succeed([])
        ),
      idle,
      size: (row) => row.data.length,
      maxRows: keptRows,
      maxSize: keptBytes
    })

    const open: Open = (consumer, options = {}, { group, receiver } = {}) =>
      Effect.gen(function*() {
        const ident = yield* identOf("subscribe", consumer)
        const limit = yield* reader.limit(options.limit)
        const partition = group?.partition
        const selection = { ...(yield* select(options.want, options.catalog, sharedDecoder)), partition }
        const filter = filterOf(selection)
        const retry = reconnecting(options.reconnect)
        if (options.register !== undefined) yield* retry(poller.register(consumer, options.register))
        const owner = (group ?? receiver)?.owner ?? randomUUID()
        /** What is claimed: by it the cursor is known. */
        const name = partition === undefined ? ident : partitionIdent(ident, partition.number)
        const held = yield* shutdown.unlessEnding(
          retry(leases.hold({ ident: name, owner }, options.whenBusy ?? "wait"))
        ).pipe(
          Effect.mapError((refusal): SubscribeError =>
            refusal._tag === "Busy"
              ? new ConsumerBusy({ consumer: ident, owner: refusal.owner, expiresIn: refusal.expiresIn })
              : refusal._tag === "NotRegistered"
              ? new NotRegistered({ consumer: ident })
              : refusal._tag === "Partitioned"
              ? hasPartitions(ident, refusal.partitions)
              : refusal
          )
        )
        // of another layout than the one that is looked for
        if (held.claim.partitions !== (partition?.of ?? 0)) return yield* new NotRegistered({ consumer: name })
        yield* shutdown.join
        const { cursor, epoch } = held.claim
        // without a window, for which the database would read thousands of rows: most never need a page of their own
        const first = yield* retry(store.look({ ident, after: 0n, window: 0 }))
        yield* notAhead(name, cursor, first)
        const member = yield* tail.join
        const fence = { ident: name, epoch }
        const done = taken(fence, ident)

        let position = receiver === undefined ? cursor : receiver.startAt(held.claim)
        let said = { position, at: 0 }
        let found: Look = first
        /** Where the tail is not: pages of its own. */
        const ownPage = Effect.gen(function*() {
          if (position >= horizon(selection, found)) found = yield* reader.look(ident, position, selection)
          return yield* reader.pageOf(found, position, selection, limit)
        })
        /** Of a partition they are few among the rows: a batch is cut from a whole page. */
        const tailed = (rows: ReadonlyArray<StoredEvent>): Page => {
          const mine = filter(rows)
          return mine.length <= limit
            ? { look: found, rows: mine, upTo: rows[rows.length - 1]!.id }
            : { look: found, rows: mine.slice(0, limit), upTo: mine[limit - 1]!.id }
        }
        const next: Effect.Effect<Page, SubscribeError> = Effect.gen(function*() {
          while (true) {
            const rows = yield* member.next(position, partition === undefined ? limit : Live.tailPage)
            const page = rows === undefined ? yield* ownPage : tailed(rows)
            if (page.upTo <= position) continue
            position = page.upTo
            const now = yield* Clock.currentTimeMillis
            const last = page.rows[page.rows.length - 1]
            const end = tail.kept()
            const head = end.to > found.head ? end.to : found.head
            yield* Metrics.lag(
              ident,
              Number(head - position),
              last === undefined ? 0 : (now - last.ts) / 1000,
              partition?.number
            )
            yield* Metrics.tailKeeps(end.rows)
            if (group !== undefined && page.rows.length === 0) {
              group.passed(position, epoch)
              continue
            }
            if (page.rows.length > 0 || position - said.position >= silentIds || now - said.at >= silentMillis) {
              said = { position, at: now }
              return page
            }
          }
        })

        let acknowledged = cursor
        const settled = ({ row }: Letter, failed: Settled["failed"]): Settled => ({
          ...fence,
          id: row.id,
          key: row.key,
          failed
        })
        return {
          ident,
          epoch,
          next: shutdown.unlessEnding(retry(next)),
          decode: (page) => toBatch(page, selection),
          step: (upTo, deadLetters = []) =>
            Effect.suspend(() => {
              if (upTo <= acknowledged && deadLetters.length === 0) return Effect.void
              return Effect.map(
                retry(Effect.flatMap(store.step({ ...fence, upTo, deadLetters }), done)),
                () => {
                  if (upTo > acknowledged) acknowledged = upTo
                }
              )
            }),
          stepWithin: (upTo, deadLetters) => Effect.flatMap(store.stepWithin({ ...fence, upTo, deadLetters }), done),
          pause: (why) => retry(Effect.flatMap(store.pause({ ...fence, why, actor: "pusher" }), done)),
          parkedKeys: Effect.map(retry(store.parkedKeys(ident)), (keys) =>
            partition === undefined
              ? keys
              : new Map([...keys].filter(([key]) => isOf(partition, { keyHash: keyHash(key) })))),
          redriven: retry(store.letters({ ident, redrive: true, partition, after: 0n, limit })),
          decodeLetter: (letter) => selection.decode(letter.row),
          wants: ({ row }) => filter([row]).length > 0,
          settle: (letter, failed) => retry(Effect.flatMap(store.settle(settled(letter, failed)), done)),
          settleWithin: (letter) => Effect.flatMap(store.settleWithin(settled(letter, undefined)), done),
          lost: Effect.flatMap(held.lost, () => Effect.fail(fenced(fence))),
          keep: held.keep,
          checkLease: Effect.suspend(() => held.isLost() ? Effect.fail(fenced(fence)) : Effect.void)
        }
      })

    const openLive = Live.opening(store, reader, tail)
    const ports: Ports = { store, open, register: poller.register, leases, shutdown, ttl: Duration.toMillis(ttl) }
    const run: Service["run"] = (consumer, handler, options) => Runner.run(ports, consumer, handler, options)
    return {
      service: { subscribe: subscribing(open, store.outside), live: Live.live(store, openLive), run },
      open,
      openLive
    }
  })
