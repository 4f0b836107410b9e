/** Group commit: 64 callers of `add` against 64 single-insert transactions at a time, and against one caller. */
import * as Effect from "effect/Effect"
import { compare, type Figure } from "./harness.js"
import { Happened, services, type Subject, text } from "./subject.js"

export const addConcurrent = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const { backend, bare, run } = subject
  const callers = 64
  const count = (backend === "sqlite" ? 6400 : 6400) / (quick ? 5 : 1)
  const id = backend === "postgres"
    ? "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    : backend === "mysql"
    ? "BIGINT AUTO_INCREMENT PRIMARY KEY"
    : "INTEGER PRIMARY KEY AUTOINCREMENT"
  await bare.query(
    `CREATE TABLE singles (id ${id}, type VARCHAR(64) NOT NULL, data ${
      backend === "mysql" ? "LONGTEXT" : "TEXT"
    } NOT NULL)`
  )
  const data = JSON.stringify({ n: 1, text })
  const each = (n: number, concurrency: number, one: Effect.Effect<unknown, any, any>) =>
    run(Effect.forEach(Array.from({ length: n }, (_, i) => i), () => one, { concurrency, discard: true }) as any)
  const add = Effect.flatMap(services, ({ generator }) => generator.add(Happened, { n: 1, text }))
  const alone = count / 16
  return compare({
    workload: "add-concurrent",
    db: backend,
    rounds: quick ? 3 : 7,
    ours: {
      name: `${callers} callers of add`,
      run: async () => {
        await each(count, callers, add)
        return count
      }
    },
    others: [
      {
        name: `${callers} single-insert transactions`,
        target: backend === "sqlite" ? undefined : 3,
        run: async () => {
          await each(
            alone,
            callers,
            Effect.flatMap(
              services,
              ({ sql }) => sql.withTransaction(sql`INSERT INTO singles (type, data) VALUES (${"HAPPENED"}, ${data})`)
            )
          )
          return alone
        }
      },
      {
        name: "one sequential caller of add",
        target: 10,
        run: async () => {
          await each(alone, 1, add)
          return alone
        }
      }
    ]
  })
}
