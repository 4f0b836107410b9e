/** The deadline of an append, which makes its outcome certain (append.ts), on the statement itself. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { expect, it } from "vitest"
import { hasCode } from "../../src/internal/sqlError.js"
import { open } from "../../src/layers/sql/open.js"
import { servers } from "../support/backends.js"
import { onEach } from "../support/stream.js"

onEach("append", ({ prefix, run }) => {
  it("a call that gets the head after its deadline writes nothing", async () => {
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { database, dialect, names } = yield* open({
          sql,
          reader: undefined,
          prefix: prefix(),
          schema: undefined,
          migrate: "auto"
        })
        const event = (uid: string) => ({
          uid,
          type: "LATE",
          key: null,
          keyHash: 0,
          meta: null,
          dedupeKey: null,
          data: "1"
        })
        const append = (uid: string, offset: number) =>
          database.reserved((conn) =>
            Effect.flatMap(
              dialect.now(conn),
              (now) => dialect.append(conn, [event(uid)], { limit: 10, deadline: now + offset })
            )
          )
        const late = yield* Effect.flip(append("00000000-0000-4000-8000-000000000001", -1))
        expect(hasCode(late, "EVT01") || hasCode(late, 4999)).toBe(true)
        expect(yield* append("00000000-0000-4000-8000-000000000002", 10_000)).toEqual([1n])
        const log = yield* sql.unsafe<{ uid: string }>(`SELECT uid FROM ${names.log}`)
        expect(log.map(({ uid }) => uid)).toEqual(["00000000-0000-4000-8000-000000000002"])
        expect(yield* sql.unsafe(`SELECT 1 FROM ${names.queue}`)).toEqual([])
      }),
      { prefix: prefix() }
    )
  })
}, { backends: servers })
