/**
 * The receivers that are served: each holds its consumer's lease as long as its stream is open, and gives no more than may
 * be unacknowledged. Steps come as calls of their own, fenced by the epoch in the database: any server of the stream can
 * take them, this one counts them as well.
 *
 * A receiver that lost its connection comes back with the same token. It is told whether anybody else had the consumer
 * meanwhile, or changed it: each claim, and each change, raises the epoch by one.
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import type * as Scope from "effect/Scope"
import type { StoredEvent } from "../../Event.js"
import { InvalidOption } from "../../EventStreamError.js"
import type { DeadLetter, Letter } from "../../services/EventStore.js"
import type { SubscribeError, SubscribeOptions } from "../../services/Pusher.js"
import type { Core } from "../EventStream.js"
import type { Page } from "../reader.js"
import { type Fence, taken } from "../stepped.js"
import { fitting, type Frame, sizeOf } from "./wire.js"

/** Bytes of a page, unless one event is longer; and of all pages of a subscription that are not acknowledged. */
const pageBytes = 512 * 1024
const mostBytes = 4 * 1024 * 1024

/** So many tokens are remembered. */
const remembered = 10_000

interface Unacknowledged {
  readonly upTo: bigint
  readonly bytes: number
  /** What may be given up, whatever becomes of the log. */
  readonly rows: ReadonlyArray<StoredEvent>
}

interface Served {
  /** The last position that was sent. */
  offered: bigint
  unacknowledged: ReadonlyArray<Unacknowledged>
  readonly free: Effect.Latch
  readonly owner: string
  /** Ends it, and waits until its lease is given back. */
  readonly leave: Effect.Effect<void>
}

export interface Request {
  readonly consumer: { readonly user: string; readonly component: string }
  readonly options: SubscribeOptions<any, any>
  readonly owner: string
  readonly credit: number
  readonly resume: { readonly epoch: bigint; readonly after: bigint } | undefined
}

/** A page in parts, each complete up to its last event. */
const parts = (page: Page): ReadonlyArray<Pick<Page, "rows" | "upTo">> => {
  const list: Array<Pick<Page, "rows" | "upTo">> = []
  let rows = page.rows
  while (true) {
    const part = fitting(rows, pageBytes, sizeOf)
    if (part.length === rows.length) return [...list, { rows, upTo: page.upTo }]
    list.push({ rows: part, upTo: part[part.length - 1]!.id })
    rows = rows.slice(part.length)
  }
}

const bytesOf = (rows: ReadonlyArray<StoredEvent>) => rows.reduce((sum, row) => sum + sizeOf(row), 0)

export const make = ({ open, store }: Core) => {
  const served = new Map<string, Served>()
  const keyOf = ({ epoch, ident }: Fence) => `${epoch} ${ident}`
  /** The unbroken run of epochs that a token has had. */
  const runs = new Map<string, { readonly first: bigint; readonly last: bigint }>()

  /** Whether the claim follows the epoch that the receiver had, with nothing but claims of its own between. */
  const follows = (key: string, epoch: bigint, before: bigint | undefined): boolean => {
    const run = runs.get(key)
    const first = run !== undefined && run.last + 1n === epoch ? run.first : before === epoch - 1n ? before : epoch
    runs.delete(key)
    runs.set(key, { first, last: epoch })
    if (runs.size > remembered) runs.delete(runs.keys().next().value!)
    return before !== undefined && first <= before && before < epoch
  }

  const subscribe = (
    { consumer, credit, options, owner, resume }: Request,
    longest: Duration.DurationInput | undefined
  ): Effect.Effect<Mailbox.ReadonlyMailbox<Frame, SubscribeError>, never, Scope.Scope> =>
    Effect.gen(function*() {
      const frames = yield* Mailbox.make<Frame, SubscribeError>(credit + 1)
      let keep = () => {}
      const fiber = yield* Deferred.make<Fiber.RuntimeFiber<unknown, unknown>>()
      const serving = Effect.scoped(Effect.gen(function*() {
        let start = { cursor: 0n, continued: false }
        const subscription = yield* open(consumer, options, {
          receiver: {
            owner,
            startAt: ({ cursor, epoch }) => {
              const continued = follows(`${owner} ${consumer.user}:${consumer.component}`, epoch, resume?.epoch)
              start = { cursor: continued && resume!.after > cursor ? resume!.after : cursor, continued }
              return start.cursor
            }
          }
        })
        const { epoch, ident } = subscription
        keep = subscription.keep
        const state: Served = {
          offered: start.cursor,
          unacknowledged: [],
          free: yield* Effect.makeLatch(true),
          owner,
          leave: Effect.asVoid(Effect.flatMap(Deferred.await(fiber), Fiber.interrupt))
        }
        const key = keyOf({ epoch, ident })
        yield* Effect.acquireRelease(
          Effect.sync(() => served.set(key, state)),
          () => Effect.sync(() => served.delete(key))
        )
        yield* frames.offer({ _tag: "Opened", ident, epoch, ...start })
        const room = Effect.gen(function*() {
          const full = () =>
            state.unacknowledged.length >= credit ||
            state.unacknowledged.reduce((sum, { bytes }) => sum + bytes, 0) >= mostBytes
          while (full()) {
            yield* state.free.close
            if (full()) yield* state.free.await
          }
        })
        const give = Effect.gen(function*() {
          yield* room
          const page = yield* subscription.next
          for (const { rows, upTo } of parts(page)) {
            yield* room
            state.offered = upTo
            state.unacknowledged = [...state.unacknowledged, { upTo, bytes: bytesOf(rows), rows }]
            yield* frames.offer({ _tag: "Page", rows, upTo, generation: page.look.generation })
          }
        })
        return yield* Effect.raceFirst(Effect.forever(give), subscription.lost)
      }))
      const bounded = longest === undefined
        ? serving
        : Effect.raceFirst(serving, Effect.zipRight(Effect.sleep(longest), Effect.sync(() => keep())))
      // what it waits for may be interrupted by the end of the stream: then it ends as if the connection was lost
      yield* Effect.forkScoped(Effect.onExit(bounded, (exit) => frames.done(Exit.asVoid(exit)))).pipe(
        Effect.flatMap((forked) => Deferred.succeed(fiber, forked))
      )
      return frames
    })

  /** Never past what was offered: by a server that does not know the receiver, past the end of the stream. */
  const withinOffered = (fence: Fence, upTo: bigint) =>
    Effect.gen(function*() {
      const offered = served.get(keyOf(fence))?.offered ??
        (yield* store.look({ ident: undefined, after: 0n, window: 0 })).head
      if (upTo <= offered) return
      return yield* new InvalidOption({
        option: "upTo",
        value: upTo.toString(),
        expected: `an id that was delivered: at most ${offered}`
      })
    })

  /** The events themselves are the log's, whatever a caller says of them. */
  const rowsOf = (fence: Fence, ids: ReadonlyArray<bigint>) =>
    Effect.gen(function*() {
      const found = new Map<bigint, StoredEvent>()
      for (const { rows } of served.get(keyOf(fence))?.unacknowledged ?? []) {
        for (const row of rows) found.set(row.id, row)
      }
      const last = ids.reduce((a, b) => a > b ? a : b, 0n)
      for (const id of ids) {
        if (found.has(id)) continue
        const page = yield* store.page({ after: id - 1n, upTo: last, types: undefined, limit: 100 })
        for (const row of page) found.set(row.id, row)
      }
      return found
    })

  const step = (
    fence: Fence,
    upTo: bigint,
    letters: ReadonlyArray<Omit<DeadLetter, "row"> & { readonly id: bigint }>
  ) =>
    Effect.gen(function*() {
      yield* withinOffered(fence, upTo)
      const rows = letters.length === 0 ? undefined : yield* rowsOf(fence, letters.map(({ id }) => id))
      const deadLetters = letters.flatMap(({ id, ...rest }) => {
        const row = rows!.get(id)
        return row === undefined || id > upTo ? [] : [{ row, ...rest }]
      })
      yield* taken(fence)(yield* store.step({ ...fence, upTo, deadLetters }))
      const state = served.get(keyOf(fence))
      if (state === undefined) return
      state.unacknowledged = state.unacknowledged.filter((page) => page.upTo > upTo)
      state.free.unsafeOpen()
    })

  const pause = (fence: Fence, why: string, actor: string) =>
    Effect.flatMap(store.pause({ ...fence, why, actor }), taken(fence))

  const letterOf = (ident: string, id: bigint) =>
    Effect.map(
      store.letters({ ident, after: id - 1n, limit: 1 }),
      ([letter]): Letter | undefined => letter?.row.id === id ? letter : undefined
    )

  const settle = (
    fence: Fence,
    id: bigint,
    failed: { readonly error: string; readonly attempts: number } | undefined
  ) =>
    Effect.gen(function*() {
      const letter = yield* letterOf(fence.ident, id)
      if (letter === undefined) return
      yield* taken(fence)(yield* store.settle({ ...fence, id, key: letter.row.key, failed }))
    })

  /** The receiver does not come back. */
  const leave = (fence: Fence, owner: string) =>
    Effect.suspend(() => {
      const state = served.get(keyOf(fence))
      return state === undefined || state.owner !== owner ? Effect.void : state.leave
    })

  return { subscribe, step, pause, settle, leave }
}

export type Subscriptions = ReturnType<typeof make>
