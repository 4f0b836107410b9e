/** `npm run bench -- WORKLOAD --db sqlite|postgres|mysql [--json] [--quick]` */
import { parseArgs } from "node:util"
import type { Backend } from "../test/support/backends.js"
import { addConcurrent } from "./addConcurrent.js"
import { archive } from "./archive.js"
import { discard } from "./discard.js"
import { drain, drainAcknowledged } from "./drain.js"
import { emitInTx } from "./emitInTx.js"
import { fanOut } from "./fanOut.js"
import { groups } from "./groups.js"
import { type Figure, print } from "./harness.js"
import { idle, latency } from "./latency.js"
import { memory, readMemory } from "./memory.js"
import { readStopped, stopped } from "./stopped.js"
import { readWebSockets, webSocket } from "./websocket.js"
import { closeServer, open } from "./subject.js"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    db: { type: "string", default: "sqlite" },
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    count: { type: "string", default: "0" },
    url: { type: "string", default: "" }
  }
})
const workloads = [
  "emit-in-tx",
  "drain",
  "drain-acknowledged",
  "add-concurrent",
  "archive",
  "fan-out",
  "latency",
  "idle",
  "discard",
  "groups",
  "memory",
  "stopped",
  "websocket"
]
/** What the script runs in a process of its own. */
const children = ["memory-child", "stopped-child", "websocket-subscribed-child", "websocket-live-child"]
const [workload = ""] = positionals
const db = values.db as Backend
if (!["sqlite", "postgres", "mysql"].includes(db) || ![...workloads, ...children].includes(workload)) {
  console.error(`usage: npm run bench -- ${workloads.join("|")} --db sqlite|postgres|mysql [--json] [--quick]`)
  process.exit(2)
}

const measure = async (): Promise<ReadonlyArray<Figure>> => {
  if (workload === "memory") return memory(db, values.quick)
  if (workload === "websocket-subscribed-child" || workload === "websocket-live-child") {
    await readWebSockets(values.url, Number(values.count), workload === "websocket-live-child" ? "live" : "subscribed")
    return []
  }
  const subject = await open(db, { connections: 16 })
  try {
    if (workload === "emit-in-tx") return await emitInTx(subject, values.quick)
    if (workload === "drain") return await drain(subject, values.quick)
    if (workload === "drain-acknowledged") return await drainAcknowledged(subject, values.quick)
    if (workload === "fan-out") return await fanOut(subject, values.quick)
    if (workload === "archive") return await archive(subject, values.quick)
    if (workload === "latency") return await latency(subject, values.quick)
    if (workload === "idle") return await idle(subject, values.quick)
    if (workload === "groups") return await groups(subject, values.quick)
    if (workload === "discard") return await discard(subject, values.quick)
    if (workload === "add-concurrent") return await addConcurrent(subject, values.quick)
    if (workload === "websocket") return await webSocket(subject, values.quick)
    if (workload === "stopped") return await stopped(subject, values.quick)
    const count = Number(values.count)
    if (workload === "memory-child") await readMemory(subject, count)
    else await readStopped(subject, count, values.quick)
    return []
  } finally {
    await subject.close()
  }
}

const figures = await measure()
if (!children.includes(workload)) print(figures, values.json)
await closeServer()
