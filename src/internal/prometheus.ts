/**
 * Metrics in the text format of Prometheus (version 0.0.4).
 *
 * A scrape with two series of one name and the same labels, or two types of one name, is refused as a whole: names that
 * differ in Effect may be the same here, so a second series is left out, and a second type gets a name of its own.
 */
import * as MetricKeyType from "effect/MetricKeyType"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

export const contentType = "text/plain; version=0.0.4; charset=utf-8"

type Labels = ReadonlyArray<readonly [name: string, value: string]>

/** A line: what is added to the family's name, the labels, the value. */
type Sample = readonly [suffix: string, labels: Labels, value: number | bigint]

type Type = "counter" | "gauge" | "histogram" | "summary"

const nameOf = (name: string): string => {
  const plain = name.replace(/[^a-zA-Z0-9_:]/g, "_")
  return /^[a-zA-Z_:]/.test(plain) ? plain : `_${plain}`
}

const labelNameOf = (name: string): string => nameOf(name).replaceAll(":", "_")

const escapeHelp = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const escapeLabel = (text: string): string => escapeHelp(text).replaceAll("\"", "\\\"")

const number = (value: number | bigint): string =>
  value === Infinity ? "+Inf" : value === -Infinity ? "-Inf" : String(value)

/** The labels of its own kind count, whatever a user's tag is called. */
const print = (labels: Labels): string => {
  const byName = new Map(labels.map(([name, value]) => [labelNameOf(name), escapeLabel(value)]))
  return byName.size === 0 ? "" : `{${[...byName].map(([name, value]) => `${name}="${value}"`).join(",")}}`
}

const samplesOf = (
  { metricKey, metricState: state }: MetricPair.MetricPair.Untyped
): readonly [Type, ReadonlyArray<Sample>] | undefined => {
  const labels: Labels = metricKey.tags.map(({ key, value }) => [key, value])
  const totals = ({ count, sum }: { readonly count: number; readonly sum: number }): ReadonlyArray<Sample> => [
    ["_sum", labels, sum],
    ["_count", labels, count]
  ]
  if (MetricState.isCounterState(state)) {
    // one that may be decremented is none for Prometheus
    const { keyType } = metricKey
    const grows = MetricKeyType.isCounterKey(keyType) && (keyType as { readonly incremental?: boolean }).incremental
    return [grows === true ? "counter" : "gauge", [["", labels, state.count]]]
  }
  if (MetricState.isGaugeState(state)) return ["gauge", [["", labels, state.value]]]
  if (MetricState.isFrequencyState(state)) {
    return ["counter", [...state.occurrences].map(([key, n]): Sample => ["", [...labels, ["key", key]], n])]
  }
  if (MetricState.isHistogramState(state)) {
    const buckets = [...state.buckets, [Infinity, state.count] as const]
    return ["histogram", [
      ...buckets.map(([bound, n]): Sample => ["_bucket", [...labels, ["le", number(bound)]], n]),
      ...totals(state)
    ]]
  }
  if (MetricState.isSummaryState(state)) {
    return ["summary", [
      ...state.quantiles.map(([quantile, value]): Sample => [
        "",
        [...labels, ["quantile", number(quantile)]],
        Option.getOrElse(value, () => NaN)
      ]),
      ...totals(state)
    ]]
  }
  return undefined
}

interface Family {
  readonly type: Type
  help: string | undefined
  /** By what must be unique: name and labels. */
  readonly lines: Map<string, string>
}

/** `Metric.snapshot` as text. */
export const text = (snapshot: ReadonlyArray<MetricPair.MetricPair.Untyped>): string => {
  const families = new Map<string, Family>()
  for (const pair of snapshot) {
    const found = samplesOf(pair)
    if (found === undefined) continue
    const [type, samples] = found
    const plain = nameOf(pair.metricKey.name)
    const name = (families.get(plain)?.type ?? type) === type ? plain : `${plain}_${type}`
    const family: Family = families.get(name) ?? { type, help: undefined, lines: new Map() }
    families.set(name, family)
    family.help ??= Option.getOrUndefined(pair.metricKey.description)
    for (const [suffix, labels, value] of samples) {
      const series = `${name}${suffix}${print(labels)}`
      if (!family.lines.has(series)) family.lines.set(series, `${series} ${number(value)}\n`)
    }
  }
  return [...families].map(([name, { help, lines, type }]) =>
    `${help === undefined ? "" : `# HELP ${name} ${escapeHelp(help)}\n`}# TYPE ${name} ${type}\n${
      [...lines.values()].join("")
    }`
  ).join("")
}
