/**
 * A consumer with a handler that takes 5 ms for an event, in 16 partitions. First what partitions give within one process
 * (the handler sleeps, so nothing else limits them), then what more processes give where each does one event at a time.
 */
import * as Effect from "effect/Effect"
import * as ChildProcess from "node:child_process"
import * as Readline from "node:readline"
import { fileURLToPath } from "node:url"
import { Consumers, Generator } from "../src/index.js"
import type { Figure } from "./harness.js"
import { Happened, services, type Subject } from "./subject.js"

const memberFile = fileURLToPath(new URL("./groupMember.js", import.meta.url))
const partitions = 16

/** A member in a process of its own: how many events it has done, and its end. (The tests' children need vitest.) */
const spawn = (args: ReadonlyArray<string>) => {
  const child = ChildProcess.spawn(process.execPath, [memberFile, ...args], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  let done = 0
  Readline.createInterface({ input: child.stdout }).on("line", (line) => done = Number(line))
  const exited = new Promise((resolve) => child.once("close", resolve))
  return {
    done: () => done,
    kill: () => {
      child.kill("SIGKILL")
      return exited
    }
  }
}

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

interface Setting {
  readonly processes: number
  readonly partitions: number
  /** 0: as many as come. */
  readonly atATime: number
  readonly events: number
}

/** Events a second, from the first one written to the last one handled. */
const measure = async (subject: Subject, { atATime, events, partitions, processes }: Setting): Promise<number> => {
  await subject.run(Effect.flatMap(services, ({ poller }) => poller.register("G", { from: "end" })))
  const children = Array.from({ length: processes }, () => spawn([subject.url, String(partitions), String(atATime)]))
  const info = () =>
    subject.run(Effect.map(
      Effect.flatMap(Consumers.Consumers, ({ list }) => list),
      (all) => all.find(({ component }) => component === "G")!
    ))
  const isReady = async () => {
    const { lease, partitions: all } = await info()
    if (partitions === 1) return lease !== undefined
    const counts = new Map<string, number>()
    for (const { owner } of all ?? []) {
      if (owner !== undefined) counts.set(owner.member, (counts.get(owner.member) ?? 0) + 1)
    }
    return counts.size === processes && [...counts.values()].every((n) => n === partitions / processes)
  }
  while (!(await isReady())) await sleep(100)
  const done = () => children.reduce((sum, child) => sum + child.done(), 0)
  const before = performance.now()
  await subject.run(Effect.flatMap(services, ({ generator }) =>
    Effect.forEach(
      Array.from({ length: Math.ceil(events / 500) }),
      () => generator.addAll(Array.from({ length: 500 }, (_, n) => Generator.event(Happened, { n, text: "x" }))),
      { discard: true }
    )))
  const all = Math.ceil(events / 500) * 500
  while (done() < all) await sleep(5)
  const rate = all / ((performance.now() - before) / 1000)
  await Promise.all(children.map((child) => child.kill()))
  await subject.run(Effect.flatMap(services, ({ poller }) => poller.unregister("G")))
  return rate
}

const median = (values: ReadonlyArray<number>) => [...values].sort((a, b) => a - b)[values.length >> 1]!
const round = (n: number) => Number(n.toFixed(2))

export const groups = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const seconds = quick ? 5 : 10
  const rounds = quick ? 1 : 3
  const perSecond = 200
  const figures: Array<Figure> = []
  const against = async (name: string, of: string, target: number, ours: Setting, theirs: Setting) => {
    const pairs: Array<readonly [number, number]> = []
    for (let i = 0; i < rounds; i++) pairs.push([await measure(subject, ours), await measure(subject, theirs)])
    const ratios = pairs.map(([a, b]) => a / b)
    figures.push({
      workload: "groups",
      db: subject.backend,
      figure: name,
      ratio: round(median(ratios)),
      of,
      spread: [round(Math.min(...ratios)), round(Math.max(...ratios))],
      perSecond: Math.round(median(pairs.map(([a]) => a))),
      target
    })
  }
  const alone = { processes: 1, partitions, atATime: 1, events: perSecond * seconds }
  await against(
    "1 process, 16 partitions at a time, events",
    "1 process without partitions",
    0.8 * partitions,
    { processes: 1, partitions, atATime: 0, events: perSecond * seconds * partitions },
    { processes: 1, partitions: 1, atATime: 0, events: perSecond * seconds }
  )
  for (const processes of [2, 4]) {
    await against(
      `${processes} processes with an event at a time each, events`,
      "1 process with an event at a time",
      0.8 * processes,
      { ...alone, processes, events: alone.events * processes },
      alone
    )
  }
  return figures
}
