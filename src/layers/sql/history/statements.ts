/**
 * The statements of a history. They are the same in every dialect but for its words, and for the INSERT.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { redactedData, redactedMeta } from "../../../internal/redacted.js"
import type { ArchivedEvent, Claimed, Position, Query, Range, Redaction, Sums } from "../../../services/HistoryStore.js"
import { toStored } from "../Dialect.js"
import type { Names } from "../names.js"
import type { dialectOf } from "../open.js"
import { sumColumns, toSums } from "../retention.js"
import { keyIs } from "../words.js"
import * as Insert from "./insert.js"

type Run<A> = Effect.Effect<A, SqlError>

/** Rows of one generation, and which generation comes next. */
export interface Part {
  readonly rows: ReadonlyArray<ArchivedEvent>
  readonly next: number | undefined
}

export interface Statements {
  readonly claim: (conn: Connection, claim: Claimed) => Run<Claimed>
  readonly last: (conn: Connection, generation: number | undefined) => Run<Position | undefined>
  /** One transaction: events that are not there yet, then the sums. */
  readonly append: (conn: Connection, events: ReadonlyArray<ArchivedEvent>, range: Range) => Run<Sums>
  readonly sums: (conn: Connection, range: Range) => Run<Sums>
  readonly bounds: (
    conn: Connection,
    query: Pick<Query, "since" | "until">
  ) => Run<{ readonly first: Position; readonly last: Position } | undefined>
  readonly page: (
    conn: Connection,
    options: Query & { readonly after: Position; readonly upTo: bigint | undefined; readonly limit: number }
  ) => Run<Part>
  readonly redact: (conn: Connection, which: Redaction) => Run<number>
}

export const make = (dialect: ReturnType<typeof dialectOf>, names: Names): Statements => {
  const { asText, millis, text, time } = dialect.words
  const history = names.of("history")
  const meta = names.of("history_meta")

  const between = ({ since, until }: Pick<Query, "since" | "until">): ReadonlyArray<string> => [
    ...(since === undefined ? [] : [`ts >= ${time(`${since}`)}`]),
    ...(until === undefined ? [] : [`ts < ${time(`${until}`)}`])
  ]

  const sumsOf = ({ from, generation, to }: Range): string =>
    `SELECT ${
      sumColumns(dialect.words)
    } FROM ${history} WHERE generation = ${generation} AND id >= ${from} AND id <= ${to}`

  const append = (conn: Connection, events: ReadonlyArray<ArchivedEvent>, range: Range): Run<Sums> => {
    if (dialect.name === "sqlite") {
      return dialect.writing(
        conn,
        Effect.zipRight(
          Effect.forEach(
            Insert.sqlite(names, events),
            ([text, params]) => conn.execute(text, params, undefined),
            { discard: true }
          ),
          Effect.map(conn.execute(sumsOf(range), [], undefined), ([row]) => toSums(row))
        )
      )
    }
    const inserts = events.length === 0
      ? []
      : [dialect.name === "postgres" ? Insert.postgres(names, events) : Insert.mysql(names, events)]
    return Effect.map(
      dialect.transact(conn, [...inserts, sumsOf(range)]),
      (results) => toSums(results[inserts.length]![0])
    )
  }

  return {
    claim: (conn, { since, stream }) =>
      Effect.map(
        dialect.transact(conn, [
          `UPDATE ${meta} SET stream = ${text(stream)}, since = ${since} WHERE stream IS NULL`,
          `UPDATE ${meta} SET since = ${since}
 WHERE stream = ${text(stream)} AND since < ${since} AND NOT EXISTS (SELECT 1 FROM ${history})`,
          `SELECT stream, ${asText("since")} AS since FROM ${meta}`
        ]),
        (results) => ({ stream: results[2]![0].stream, since: BigInt(results[2]![0].since) })
      ),

    last: (conn, generation) =>
      Effect.map(
        dialect.inspect(conn, [
          `SELECT ${asText("generation")} AS generation, ${asText("id")} AS id FROM ${history} h${
            generation === undefined ? "" : ` WHERE generation = ${generation}`
          }
 ORDER BY h.generation DESC, h.id DESC LIMIT 1`
        ]),
        ([rows]) => rows![0] === undefined ? undefined : toPosition(rows![0].generation, rows![0].id)
      ),

    append,

    sums: (conn, range) => Effect.map(dialect.inspect(conn, [sumsOf(range)]), ([rows]) => toSums(rows![0])),

    // grouped: the smallest of pairs would tempt a planner to walk along the primary key until it meets the time
    bounds: (conn, query) =>
      Effect.map(
        dialect.inspect(conn, [
          `SELECT ${asText("generation")} AS generation, ${asText("MIN(id)")} AS first, ${asText("MAX(id)")} AS last
  FROM ${history} h${where(between(query))}
 GROUP BY h.generation ORDER BY h.generation`
        ]),
        ([rows]) => {
          const first = rows![0]
          const last = rows![rows!.length - 1]
          return first === undefined
            ? undefined
            : { first: toPosition(first.generation, first.first), last: toPosition(last.generation, last.last) }
        }
      ),

    page: (conn, { after, afterId = 0n, key, limit, types, upTo, upToId, ...times }) => {
      const most = upTo === undefined || (upToId !== undefined && upToId < upTo) ? upToId : upTo
      const conditions = [
        `generation = ${after.generation}`,
        `id > ${after.id > afterId ? after.id : afterId}`,
        ...(most === undefined ? [] : [`id <= ${most}`]),
        ...(types === undefined ? [] : [types.length === 0 ? "1 = 0" : `type IN (${types.map(text).join(", ")})`]),
        ...(key === undefined ? [] : [keyIs(dialect.words, key)]),
        ...between(times)
      ]
      return Effect.map(
        dialect.inspect(conn, [
          `SELECT ${asText("generation")} AS generation, ${asText("id")} AS id, uid, type, event_key, ${
            asText("key_hash")
          } AS key_hash, meta, data, ${millis("ts")} AS ts
  FROM ${history} h${where(conditions)}
 ORDER BY h.generation, h.id LIMIT ${limit}`,
          `SELECT ${asText("MIN(generation)")} AS next FROM ${history} WHERE generation > ${after.generation}`
        ]),
        ([rows, [row]]: any) => ({
          rows: rows.map((row: any) => ({ ...toStored(row), generation: Number(row.generation) })),
          next: row.next === null ? undefined : Number(row.next)
        })
      )
    },

    redact: (conn, which) => {
      const found = where(["key" in which ? keyIs(dialect.words, which.key) : `id IN (${which.ids.join(", ")})`])
      return Effect.map(
        dialect.transact(conn, [
          `SELECT ${asText("COUNT(*)")} AS n FROM ${history}${found}`,
          `UPDATE ${history} SET data = '${redactedData}', meta = '${redactedMeta}', event_key = NULL${found}`
        ]),
        ([rows]) => Number(rows![0].n)
      )
    }
  }
}

const where = (conditions: ReadonlyArray<string>): string =>
  conditions.length === 0 ? "" : `\n WHERE ${conditions.join(" AND ")}`

const toPosition = (generation: string, id: string): Position => ({ generation: Number(generation), id: BigInt(id) })
