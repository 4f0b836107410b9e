/**
 * Standard output and error: documents, tables, lines.
 */
import * as Effect from "effect/Effect"
import { OutputClosed } from "./CliError.js"
import * as Table from "./table.js"

/** Whether the output is for eyes that want colours. */
export const coloured = process.stdout.isTTY === true && !process.env.NO_COLOR

/** How wide lines may be. */
const columns = (): number => {
  const said = Number(process.env.COLUMNS)
  return Number.isInteger(said) && said > 0 ? said : process.stdout.columns ?? 80
}

/** An output that nobody reads any more is found by the write that fails; the event of it must not kill the process. */
export const ignoreClosed = Effect.sync(() => {
  process.stdout.on("error", () => {})
  process.stderr.on("error", () => {})
})

/** Waits until it is written: who reads slowly slows down who writes. */
export const write = (text: string): Effect.Effect<void, OutputClosed> =>
  text === "" ? Effect.void : Effect.async((resume) => {
    process.stdout.write(text, (error) => resume(error ? Effect.fail(new OutputClosed()) : Effect.void))
  })

export const line = (text: string) => write(`${text}\n`)

/** To standard error. */
export const note = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stderr.write(`${text}\n`))

/** One line of JSON: ids as decimal strings, times in ISO form, what there is none of as null. */
export const jsonText = (value: unknown): string =>
  JSON.stringify(
    value,
    (_, inner) => typeof inner === "bigint" ? inner.toString() : inner === undefined ? null : inner
  )

export const json = (value: unknown) => line(jsonText(value))

/** Either one JSON document, or what a person reads. */
export const either = (
  { json: asJson }: { readonly json: boolean },
  value: unknown,
  text: string
): Effect.Effect<void, OutputClosed> => asJson ? json(value) : text === "" ? Effect.void : line(text)

export const table = <R>(shape: ReadonlyArray<Table.Column<R>>, rows: ReadonlyArray<R>): string =>
  Table.render(shape, rows, { width: columns(), colours: coloured })
