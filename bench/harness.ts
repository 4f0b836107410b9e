/**
 * Ratios, not seconds: what is measured and what it is compared with run in turns, A B A B …, each round gives a ratio,
 * and the median of those is the figure. One warm-up of each goes before.
 */
export interface Figure {
  readonly workload: string
  readonly db: string
  readonly figure: string
  readonly ratio: number
  readonly of: string
  readonly spread: readonly [number, number]
  /** What was reached in absolute terms in the median round, for orientation: machines differ. */
  readonly perSecond: number
  readonly target: number | undefined
  /** CPU of this process for an operation, microseconds: of what is measured, and of what it is compared with. */
  readonly cpu?: readonly [number, number] | undefined
  /** Where less is better. */
  readonly atMost?: number | undefined
}

const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}

const round = (n: number, digits = 2) => Number(n.toFixed(digits))

export interface Variant {
  readonly name: string
  /** Does the work once; answers how many operations that were. */
  readonly run: () => Promise<number>
}

/** Operations a second of `ours` over those of each of `others`. */
export const compare = async (options: {
  readonly workload: string
  readonly db: string
  readonly ours: Variant
  readonly others: ReadonlyArray<Variant & { readonly target?: number | undefined }>
  readonly rounds: number
}): Promise<ReadonlyArray<Figure>> => {
  const timed = async ({ run }: Variant) => {
    const before = performance.now()
    const cpuBefore = process.cpuUsage()
    const operations = await run()
    const { system, user } = process.cpuUsage(cpuBefore)
    return { rate: operations / ((performance.now() - before) / 1000), cpu: (user + system) / operations }
  }
  const variants = [options.ours, ...options.others]
  for (const variant of variants) await timed(variant)
  const rates = variants.map((): Array<number> => [])
  const cpus = variants.map((): Array<number> => [])
  for (let i = 0; i < options.rounds; i++) {
    for (const [v, variant] of variants.entries()) {
      const { cpu, rate } = await timed(variant)
      rates[v]!.push(rate)
      cpus[v]!.push(cpu)
    }
  }
  return options.others.map(({ name, target }, i) => {
    const ratios = rates[0]!.map((rate, r) => rate / rates[i + 1]![r]!)
    return {
      workload: options.workload,
      db: options.db,
      figure: options.ours.name,
      ratio: round(median(ratios)),
      of: name,
      spread: [round(Math.min(...ratios)), round(Math.max(...ratios))],
      perSecond: Math.round(median(rates[0]!)),
      cpu: [round(median(cpus[0]!), 1), round(median(cpus[i + 1]!), 1)],
      target
    }
  })
}

export const print = (figures: ReadonlyArray<Figure>, json: boolean) => {
  if (json) {
    for (const figure of figures) console.log(JSON.stringify(figure))
    return
  }
  console.table(figures.map(({ atMost, cpu, db, figure, of, perSecond, ratio, spread, target, workload }) => ({
    workload,
    db,
    what: figure,
    "against": of,
    ratio,
    spread: spread.join(" – "),
    target: target !== undefined ? `≥ ${target}` : atMost !== undefined ? `≤ ${atMost}` : "",
    "per second": perSecond,
    "µs of CPU": cpu?.join(" / ") ?? ""
  })))
}
