/** Consumers, a line each. */
import type { Info } from "../../services/Consumers.js"
import * as Output from "../output.js"
import type { Column } from "../table.js"

const columns: ReadonlyArray<Column<Info>> = [
  { title: "CONSUMER", cell: ({ consumer }) => consumer },
  {
    title: "STATE",
    cell: ({ state }) => state,
    colour: ({ state }) => state === "paused" ? "yellow" : state === "active" ? "green" : undefined
  },
  { title: "CURSOR", cell: ({ cursor }) => cursor === undefined ? "-" : cursor.toString(), align: "right" },
  { title: "LAG", cell: ({ lag }) => lag.events.toString(), align: "right" },
  { title: "SECONDS", cell: ({ lag }) => lag.seconds.toFixed(0), align: "right" },
  {
    title: "DEAD",
    cell: ({ deadLetters }) => deadLetters.toString(),
    align: "right",
    colour: ({ deadLetters }) => deadLetters > 0 ? "red" : undefined
  },
  { title: "HELD BY", cell: ({ lease, partitions, paused }) => paused ?? lease?.owner ?? sharedBy(partitions) ?? "-" }
]

/** By how many runs, and which partitions nobody has. */
const sharedBy = (partitions: Info["partitions"]): string | undefined => {
  if (partitions === undefined) return undefined
  const members = new Set(partitions.flatMap(({ owner }) => owner === undefined ? [] : [owner.member]))
  const free = partitions.filter(({ owner }) => owner === undefined).map(({ number }) => number)
  const runs = `${members.size} ${members.size === 1 ? "run" : "runs"}, ${partitions.length} partitions`
  return free.length === 0 ? runs : `${runs}, free: ${free.join(" ")}`
}

export const consumerTable = (consumers: ReadonlyArray<Info>): string =>
  consumers.length === 0 ? "No consumer is registered" : Output.table(columns, consumers)
