import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import { expect, it } from "vitest"
import * as Prometheus from "../../src/internal/prometheus.js"

/** Metrics are global in a process: each test has names of its own. */
const lines = (prefix: string, effect: Effect.Effect<unknown>) =>
  Effect.runPromise(Effect.zipRight(
    effect,
    Effect.map(
      Metric.snapshot,
      (all) =>
        Prometheus.text(all.filter(({ metricKey }) => metricKey.name.startsWith(prefix))).split("\n").slice(0, -1)
    )
  ))

it("counters that only grow are counters, others gauges; big ones keep their digits", async () => {
  expect(
    await lines(
      "one.",
      Effect.all([
        Metric.incrementBy(Metric.counter("one.grows-up", { description: "So\nmany\\", incremental: true }), 3),
        Metric.incrementBy(Metric.counter("one.both"), -2),
        Metric.incrementBy(Metric.counter("one.big", { bigint: true, incremental: true }), 9007199254740993n),
        Metric.set(Metric.gauge("one.gauge"), 0.5)
      ])
    )
  ).toEqual([
    "# HELP one_grows_up So\\nmany\\\\",
    "# TYPE one_grows_up counter",
    "one_grows_up 3",
    "# TYPE one_both gauge",
    "one_both -2",
    "# TYPE one_big counter",
    "one_big 9007199254740993",
    "# TYPE one_gauge gauge",
    "one_gauge 0.5"
  ])
})

it("HELP and TYPE come once for a name, its series follow; labels are escaped", async () => {
  const metric = Metric.counter("two.a", { description: "Two", incremental: true })
  const found = await lines(
    "two.",
    Effect.all([
      Metric.increment(Metric.tagged(metric, "group.name", "a \"b\" \\ c\nd")),
      Metric.increment(Metric.counter("two.other", { incremental: true })),
      Metric.increment(Metric.tagged(metric, "group.name", "x"))
    ])
  )
  expect(found.filter((line) => line.startsWith("# HELP two_a"))).toEqual(["# HELP two_a Two"])
  const start = found.indexOf("# TYPE two_a counter")
  expect(found.slice(start + 1, start + 3).sort()).toEqual([
    `two_a{group_name="a \\"b\\" \\\\ c\\nd"} 1`,
    `two_a{group_name="x"} 1`
  ])
})

it("names that become the same do not spoil the scrape", async () => {
  const found = await lines(
    "three",
    Effect.all([
      Metric.set(Metric.gauge("three.x"), 1),
      Metric.set(Metric.gauge("three_x"), 2),
      Metric.increment(Metric.counter("three-x", { incremental: true }))
    ])
  )
  const heads = found.filter((line) => !line.startsWith("#")).map((line) => line.split(" ")[0])
  expect(heads.sort()).toHaveLength(2)
  expect(new Set(heads).size).toBe(2)
  expect(found.filter((line) => line.startsWith("# TYPE")).length).toBe(2)
})

it("histograms have cumulated buckets up to +Inf, sum and count", async () => {
  const metric = Metric.histogram("four.h", MetricBoundaries.fromIterable([1, 10]))
  const found = await lines("four.", Effect.forEach([0.5, 1, 5, 50], (n) => Metric.update(metric, n)))
  expect(found).toEqual([
    "# TYPE four_h histogram",
    `four_h_bucket{le="1"} 2`,
    `four_h_bucket{le="10"} 3`,
    `four_h_bucket{le="+Inf"} 4`,
    "four_h_sum 56.5",
    "four_h_count 4"
  ])
})

it("summaries have their quantiles, frequencies a series for each key", async () => {
  const summary = Metric.summary({
    name: "five.s",
    maxAge: "1 hour",
    maxSize: 100,
    error: 0,
    quantiles: [1]
  })
  const frequency = Metric.frequency("five.f")
  const found = await lines(
    "five.",
    Effect.all([
      Effect.forEach([1, 2, 3], (n) => Metric.update(summary, n)),
      Metric.value(
        Metric.summary({ name: "five.none", maxAge: "1 hour", maxSize: 1, error: 0, quantiles: [1] })
      ),
      Effect.forEach(["a", "b", "a"], (word) => Metric.update(frequency, word))
    ])
  )
  expect(found).toEqual([
    "# TYPE five_s summary",
    `five_s{quantile="1"} 3`,
    "five_s_sum 6",
    "five_s_count 3",
    "# TYPE five_none summary",
    `five_none{quantile="1"} NaN`,
    "five_none_sum 0",
    "five_none_count 0",
    "# TYPE five_f counter",
    `five_f{key="a"} 2`,
    `five_f{key="b"} 1`
  ])
})
