/**
 * A disk that is full. SQLite on a small file system of its own, where it may be mounted; else the file's pages are limited,
 * which does not stop what only changes pages. That of servers is not tested here.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, beforeAll, expect, it } from "vitest"
import type { Services } from "../../examples/main-job/database.js"
import { Discarder, Generator, Poller, Pusher } from "../../src/index.js"
import * as Sqlite from "../../src/sqlite.js"
import { Sqlite as SqliteDriver } from "../support/servers.js"
import { Gone } from "../support/stream.js"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-full-"))
const file = Path.join(folder, "full.db")
const ballast = Path.join(folder, "ballast")
let mounted = false

beforeAll(() => {
  mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", folder]).status === 0
  console.log(mounted ? "a full file system (tmpfs of 6 MB)" : "no mount permitted: PRAGMA max_page_count instead")
  if (mounted) Fs.writeFileSync(ballast, Buffer.alloc(2 * 1024 * 1024, 1))
})

afterAll(() => {
  if (mounted) spawnSync("umount", [folder])
  Fs.rmSync(folder, { recursive: true, force: true })
})

/** An old reader: the write-ahead log cannot start again, so every write needs space. */
let snapshot: any
const limit = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  if (mounted) {
    snapshot = new SqliteDriver(file, { readonly: true })
    snapshot.exec("BEGIN; SELECT COUNT(*) FROM evt_log")
    return
  }
  const [{ page_count: pages }] = yield* sql.unsafe<any>("PRAGMA page_count")
  yield* sql.unsafe(`PRAGMA max_page_count = ${pages + 50}`)
})
const makeSpace = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  if (mounted) {
    Fs.rmSync(ballast)
    snapshot.close()
  } else yield* sql.unsafe("PRAGMA max_page_count = 1073741823")
})

it("on a full disk writes fail with what it is, nothing stored is lost, readers go on, and after it all goes on", async () => {
  const layer = Layer.provideMerge(Sqlite.layer({ migrate: "auto" }), Sqlite.client(file)) as Layer.Layer<Services>
  await Effect.runPromise(
    Effect.gen(function*() {
      const generator = yield* Generator.Generator
      const poller = yield* Poller.Poller
      const pusher = yield* Pusher.Pusher
      const discarder = yield* Discarder.Discarder
      const stored: Array<bigint> = []
      let n = 0
      let emitted = 0
      const add = Effect.suspend(() => generator.add(Gone, { id: ++n }, { key: "k".repeat(200) })).pipe(
        Effect.tap((id) => Effect.sync(() => stored.push(id)))
      )
      const emit = Effect.suspend(() =>
        generator.transaction(generator.emitAll([1, 2].map(() => Generator.event(Gone, { id: -1 }))))
      ).pipe(Effect.tap(() => Effect.sync(() => emitted += 2)))
      const log = Effect.gen(function*() {
        const ids: Array<bigint> = []
        let pairs = 0
        let last: bigint | undefined
        while (true) {
          const { events, upTo } = yield* poller.poll("LIVE", { want: [Gone], ...(last ? { lastId: last } : {}) })
          if (events.length === 0) return { ids, pairs }
          for (const event of events) {
            if (event._tag === "Known" && event.data.id === -1) pairs++
            else ids.push(event.id)
          }
          last = upTo
        }
      })
      let acknowledged = 0n
      const acknowledge = Effect.suspend(() => poller.poll("C", { lastId: acknowledged + 1n, limit: 1 })).pipe(
        Effect.tap(() => Effect.sync(() => acknowledged++))
      )
      /** Until there is no room for it either. */
      const filling = <A, E>(effect: Effect.Effect<A, E>) => Effect.flip(Effect.forever(effect))
      const full = { reason: "full", retryable: false }

      yield* poller.register("C")
      yield* poller.register("R")
      yield* Effect.replicateEffect(add, 200)
      yield* Effect.replicateEffect(acknowledge, 5)
      yield* poller.poll("R", { lastId: 3 })
      yield* limit
      expect(yield* filling(add)).toMatchObject({ _tag: "StoreError", ...full })
      const failed = yield* filling(emit)
      expect(failed).toMatchObject(full)
      expect(["StoreError", "TransactionFailed"]).toContain(failed._tag)
      expect(yield* filling(add)).toMatchObject({ _tag: "StoreError", ...full })
      if (mounted) {
        expect(yield* filling(acknowledge)).toMatchObject({ _tag: "StoreError", ...full })
        expect(yield* Effect.flip(discarder.once({ retain: { for: 0 } }))).toMatchObject({
          _tag: "StoreError",
          ...full
        })
        expect(yield* Effect.flip(pusher.run("R", () => Effect.void, { want: [Gone] }))).toMatchObject({
          _tag: "StoreError",
          ...full
        })
      }
      // readers go on, and see all that was answered and nothing else
      expect(yield* log).toEqual({ ids: stored, pairs: emitted })
      console.log(`${stored.length} adds, ${emitted} emitted, ${acknowledged} acknowledged before the disk was full`)

      yield* makeSpace
      const before = stored.length
      yield* Effect.replicateEffect(add, 20)
      yield* emit
      expect(stored.length).toBe(before + 20)
      expect(yield* log).toEqual({ ids: stored, pairs: emitted })
      // the cursor is where the last answer left it
      const [next] = (yield* poller.poll("C", { limit: 1 })).events
      expect(next!.id).toBe(acknowledged + 1n)
      yield* acknowledge
      const handled: Array<bigint> = []
      yield* Effect.raceFirst(
        pusher.run("R", (event) => Effect.sync(() => handled.push(event.id)), { want: [Gone] }),
        Effect.repeat(Effect.delay(Effect.sync(() => handled.length), 10), {
          until: (count) => count >= stored.length + emitted - 3
        })
      )
      expect(handled.length).toBe(stored.length + emitted - 3)
      const end = (yield* poller.poll("LIVE", { lastId: handled[handled.length - 1]! })).upTo!
      yield* poller.poll("R", { lastId: end })
      expect(yield* discarder.once({ retain: { for: 0 } })).toMatchObject({ discardedTo: acknowledged })
    }).pipe(Effect.provide(layer))
  )
})
