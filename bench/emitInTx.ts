/** What an event costs a transaction: the same transaction with a plain insert in the place of `emit`. */
import * as Effect from "effect/Effect"
import { compare, type Figure } from "./harness.js"
import { Happened, services, type Subject, text } from "./subject.js"

const targets = { postgres: 0.85, mysql: 0.75, sqlite: 0.9 }

export const emitInTx = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const { backend, bare, run } = subject
  const count = (backend === "sqlite" ? 3000 : 2000) / (quick ? 5 : 1)
  const concurrency = backend === "sqlite" ? 1 : 16
  const id = backend === "postgres"
    ? "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    : backend === "mysql"
    ? "BIGINT AUTO_INCREMENT PRIMARY KEY"
    : "INTEGER PRIMARY KEY AUTOINCREMENT"
  const big = backend === "mysql" ? "LONGTEXT" : "TEXT"
  await bare.query(`CREATE TABLE business (id ${id}, n INTEGER NOT NULL)`)
  await bare.query(`CREATE TABLE plain (id ${id}, type VARCHAR(64) NOT NULL, data ${big} NOT NULL)`)
  const data = JSON.stringify({ n: 1, text })
  const all = (one: (n: number) => Effect.Effect<unknown, any, any>) =>
    run(Effect.forEach(Array.from({ length: count }, (_, n) => n), one, { concurrency, discard: true }) as any)
  const repeat = async (one: (n: number) => Promise<void>) => {
    let next = 0
    await Promise.all(Array.from({ length: concurrency }, async () => {
      while (next < count) await one(next++)
    }))
  }
  return compare({
    workload: "emit-in-tx",
    db: backend,
    rounds: quick ? 3 : 9,
    ours: {
      name: "Generator.transaction with emit",
      run: async () => {
        await all((n) =>
          Effect.flatMap(services, ({ generator, sql }) =>
            generator.transaction(
              Effect.zipRight(
                sql`INSERT INTO business (n) VALUES (${n})`,
                generator.emit(Happened, { n, text })
              )
            ))
        )
        return count
      }
    },
    others: [
      {
        name: "plain insert through @effect/sql",
        target: targets[backend],
        run: async () => {
          await all((n) =>
            Effect.flatMap(services, ({ sql }) =>
              sql.withTransaction(
                Effect.zipRight(
                  sql`INSERT INTO business (n) VALUES (${n})`,
                  sql`INSERT INTO plain (type, data) VALUES (${"HAPPENED"}, ${data})`
                )
              ))
          )
          return count
        }
      },
      {
        name: "plain insert through the bare driver",
        run: async () => {
          await repeat((n) =>
            bare.transaction(async (query) => {
              await query("INSERT INTO business (n) VALUES (?)", [n])
              await query("INSERT INTO plain (type, data) VALUES (?, ?)", ["HAPPENED", data])
            })
          )
          return count
        }
      }
    ]
  })
}
