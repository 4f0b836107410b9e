import { Effect, Metric } from "effect"

// without an exporter: every figure of this process, as a line of text
export const figures = Effect.map(Metric.snapshot, (pairs) =>
  pairs
    .filter(({ metricKey }) => /^(evt|messaging)\./.test(metricKey.name))
    .map(({ metricKey, metricState }) => {
      const tags = metricKey.tags.map(({ key, value }) => `${key}=${value}`).join(" ")
      const value = "count" in metricState ? metricState.count : "value" in metricState ? metricState.value : ""
      return `${metricKey.name} ${tags}: ${value}`
    }))
