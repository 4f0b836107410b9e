/** Memory while a backlog is read: ten times the events must not take more. Each size in a process of its own. */
import * as ChildProcess from "node:child_process"
import { fileURLToPath } from "node:url"
import { drainOnce, fill } from "./drain.js"
import type { Figure } from "./harness.js"
import type { Subject } from "./subject.js"

interface Reading {
  readonly heap: number
  /** The largest that was seen, garbage included. */
  readonly peakHeap: number
  readonly rss: number
}

/** In the child: does the work, says what it took. The work calls `sample` now and then: SQLite leaves no turn to timers. */
export const readWhile = async (work: (sample: () => void) => Promise<unknown>) => {
  let peakHeap = 0
  await work(() => {
    peakHeap = Math.max(peakHeap, process.memoryUsage().heapUsed)
  })
  globalThis.gc!()
  const { heapUsed } = process.memoryUsage()
  console.log(JSON.stringify({ heap: heapUsed, peakHeap, rss: process.resourceUsage().maxRSS * 1024 }))
}

/** In the child: fills and drains. */
export const readMemory = async (subject: Subject, count: number) => {
  await fill(subject, count)
  globalThis.gc!()
  await readWhile(() => drainOnce(subject, count, true))
}

/** Runs a workload in a process of its own. */
export const readInChild = (
  workload: string,
  backend: string,
  count: number,
  flags: ReadonlyArray<string> = []
): Reading => {
  const { status, stdout } = ChildProcess.spawnSync(
    process.execPath,
    [
      "--expose-gc",
      fileURLToPath(new URL("./run.js", import.meta.url)),
      workload,
      "--db",
      backend,
      "--count",
      String(count),
      ...flags
    ],
    { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }
  )
  if (status !== 0) throw new Error("the process that measures memory failed")
  return JSON.parse(stdout.trim().split("\n").pop()!)
}

export const memory = (backend: string, quick: boolean): ReadonlyArray<Figure> => {
  const read = (count: number) => readInChild("memory-child", backend, count)
  const [few, many] = quick ? [20_000, 100_000] as const : [100_000, 1_000_000] as const
  const a = read(few)
  const b = read(many)
  const figure = (name: string, x: number, y: number): Figure => ({
    workload: "memory",
    db: backend,
    figure: `${name}, draining ${many}`,
    ratio: Number((y / x).toFixed(2)),
    of: `draining ${few}`,
    spread: [Number((y / x).toFixed(2)), Number((y / x).toFixed(2))],
    perSecond: 0,
    target: undefined
  })
  return [
    figure(`heap after collection (${(b.heap / 2 ** 20).toFixed(0)} MiB)`, a.heap, b.heap),
    figure(`peak RSS (${(b.rss / 2 ** 20).toFixed(0)} MiB)`, a.rss, b.rss)
  ]
}
