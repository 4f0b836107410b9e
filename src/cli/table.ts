/**
 * Tables that fit: where there is no room the middle columns are cut, the first and the last are cut last.
 */
import { cut, plain, widthOf } from "./text.js"

export type Colour = "red" | "yellow" | "green" | "dim"

export interface Column<R> {
  readonly title: string
  readonly cell: (row: R) => string
  readonly align?: "left" | "right"
  readonly colour?: (row: R) => Colour | undefined
}

const codes: Record<Colour | "bold", number> = { red: 31, yellow: 33, green: 32, dim: 2, bold: 1 }

const gap = "  "
/** Of a middle column while another one has room to give; of any column. */
const readable = 8
const narrowest = 5

export const render = <R>(
  columns: ReadonlyArray<Column<R>>,
  rows: ReadonlyArray<R>,
  options: { readonly width: number; readonly colours: boolean }
): string => {
  const texts = rows.map((row) => columns.map(({ cell }) => plain(cell(row))))
  const widths = fit(
    columns.map(({ title }, i) => Math.max(widthOf(title), ...texts.map((row) => widthOf(row[i]!)))),
    options.width
  )
  const paint = (text: string, colour: Colour | "bold" | undefined) =>
    options.colours && colour !== undefined ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text
  const lineOf = (cells: ReadonlyArray<string>, colourOf: (i: number) => Colour | "bold" | undefined) =>
    cells.map((text, i) => {
      const width = widths[i]!
      if (width === 0) return undefined
      const short = cut(text, width)
      const space = " ".repeat(width - widthOf(short))
      return paint(columns[i]!.align === "right" ? space + short : short + space, colourOf(i))
    }).filter((text) => text !== undefined).join(gap).trimEnd()
  return [
    lineOf(columns.map(({ title }) => title), () => "bold"),
    ...rows.map((row, r) => lineOf(texts[r]!, (i) => columns[i]!.colour?.(row)))
  ].join("\n")
}

/** Narrower columns, the widest of the middle first; 0: left out. */
const fit = (natural: ReadonlyArray<number>, width: number): ReadonlyArray<number> => {
  const widths = [...natural]
  const last = widths.length - 1
  const excess = () => {
    const shown = widths.filter((one) => one > 0)
    return shown.reduce((sum, one) => sum + one, 0) + gap.length * (shown.length - 1) - width
  }
  const widest = (from: number, to: number) => {
    let found = from
    for (let i = from; i <= to; i++) if (widths[i]! > widths[found]!) found = i
    return found
  }
  while (excess() > 0 && last > 1) {
    const i = widest(1, last - 1)
    if (widths[i]! <= readable) break
    widths[i]!--
  }
  while (excess() > 0) {
    const i = widest(0, last)
    if (widths[i]! <= narrowest) break
    widths[i]!--
  }
  for (let step = 0; excess() > 0 && step < last - 1; step++) widths[last - 1 - step] = 0
  return widths
}
