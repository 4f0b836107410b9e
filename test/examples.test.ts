/** What README and examples show is what runs. */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { describe, expect, it } from "vitest"
import { makeCertificate } from "./support/certificate.js"
import { backends, createDatabase } from "./support/backends.js"

const root = Path.resolve(import.meta.dirname, "..")
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href

const run = (file: string, cwd: string, env: Record<string, string> = {}) =>
  new Promise<{ readonly code: number | null; readonly output: string }>((resolve) => {
    const args = ["--import", tsx, Path.join(root, file)]
    // where tsx finds what `effect-eventstream` means in the repository, also from another folder
    const TSX_TSCONFIG_PATH = Path.join(root, "tsconfig.json")
    const { DATABASE_URL: _, ...rest } = process.env
    const child = ChildProcess.spawn(process.execPath, args, { cwd, env: { ...rest, TSX_TSCONFIG_PATH, ...env } })
    let output = ""
    child.stdout.on("data", (data) => output += data)
    child.stderr.on("data", (data) => output += data)
    child.once("close", (code) => resolve({ code, output }))
  })

describe("Examples", () => {
  it("the README shows the quickstart as it is", () => {
    const readme = Fs.readFileSync(Path.join(root, "README.md"), "utf8")
    const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code)
    expect(blocks).toContain(Fs.readFileSync(Path.join(root, "examples/quickstart.ts"), "utf8"))
    expect(blocks.length).toBe(1)
  })

  // docs/NAME.md shows the files of examples/NAME, which examples/NAME/main.ts runs, or programs of examples/
  const pages = Fs.readdirSync(Path.join(root, "docs")).filter((name) => name.endsWith(".md"))
  it.each(pages)("every block of docs/%s is a file that its program runs", (page) => {
    const folder = Path.join(root, "examples", page.slice(0, -".md".length))
    const text = Fs.readFileSync(Path.join(root, "docs", page), "utf8")
    const blocks = [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code!)
    if (!Fs.existsSync(folder)) {
      const programs = Fs.readdirSync(Path.dirname(folder)).filter((name) => name.endsWith(".ts"))
      const texts = programs.map((name) => Fs.readFileSync(Path.join(root, "examples", name), "utf8"))
      for (const block of blocks) expect(texts).toContain(block)
      return
    }
    const read = (name: string) => Fs.readFileSync(Path.join(folder, name), "utf8")
    const files = Fs.readdirSync(folder).filter((name) => name !== "main.ts")
    const names = new Map(files.map((name) => [read(name), name]))
    const shown = blocks.map((code) => names.get(code) ?? code)
    expect(shown.sort()).toEqual(files.sort())
    for (const name of files) expect(read("main.ts")).toContain(`from "./${name.replace(/ts$/, "js")}"`)
  })

  it("the program of docs/delivery.md", async () => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-example-"))
    const { code, output } = await run("examples/delivery/main.ts", folder)
    for (
      const expected of [
        "welcome, grace@example.org",
        "indexed: 4",
        "copied: 4",
        "counted: alan@example.org",
        "now: grace@example.org",
        "sent to grace@example.org",
        "given up: event 2 after 4 calls: Error: nobody is not an address",
        "given up: event 4 after 0 calls",
        "local:MAILER is at work elsewhere",
        "evt.consumer.dead_letters messaging.consumer.group.name=local:WELCOME: 2",
        "messaging.client.consumed.messages messaging.consumer.group.name=local:DIRECTORY: 4"
      ]
    ) expect(output).toContain(expected)
    // the order of the key holds through parking and redriving
    expect(output).toMatch(/given up: event 4[^]*sent to nobody[^]*sent to alan/)
    expect(code).toBe(0)
    Fs.rmSync(folder, { recursive: true })
  })

  it("the program of docs/network.md", async () => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-example-"))
    const PORT = String(20_000 + Math.floor(Math.random() * 10_000))
    const { code, output } = await run("examples/network/main.ts", folder, { PORT })
    expect(output).toMatch(/added: .*ids.*1/)
    expect(output).toMatch(/seen: USR_ADD \{"id":"1".*ada@example\.org/)
    expect(output).toMatch(/welcome, ada@example\.org/)
    expect(code).toBe(0)
    Fs.rmSync(folder, { recursive: true })
  })

  it("the program of docs/groups.md", async () => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-example-"))
    const { code, output } = await run("examples/groups/main.ts", folder)
    for (
      const expected of [
        "three processes have 2, 3, 3 partitions",
        "one was killed: two have 4, 4",
        "1000 bookings handled, 0 overtaken",
        "16 partitions from event 1000 on",
        "counted 1000, each once"
      ]
    ) expect(output).toContain(expected)
    expect(code).toBe(0)
    Fs.rmSync(folder, { recursive: true })
  })

  it("quickstart, and once more on the same file", async () => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-example-"))
    for (let i = 0; i < 2; i++) {
      const { code, output } = await run("examples/quickstart.ts", folder)
      expect(output.match(/welcome, ada@example\.org/g)).toHaveLength(1)
      expect(output).not.toMatch(/rolled back/)
      expect(code).toBe(0)
    }
    Fs.rmSync(folder, { recursive: true })
  })

  it.each([
    ["reliable", [
      /welcome, ada/,
      /welcome, grace/,
      /given up after 3 attempts: deadLetter/,
      /dead letter after 3 attempts: .*nobody.*not an address/
    ]],
    ["parked", [
      /booked 2 for ada[^]*booked 4 for grace/,
      /parked: alan, .*alan has no account/,
      /parked: alan, .*an earlier event of its key is parked/,
      /booked 1 for alan[^]*booked 3 for alan[^]*booked 5 for alan/,
      /alan[^}]*balance[^}]*: 9\b/
    ]],
    ["operations", [
      /behind: local:ARCHIVER 0, local:BOOKS 1/,
      /3 discarded"? .*held back by local:BOOKS/s,
      /again:"? .*4/s,
      /erased: 1 in the log, 4 in the history/,
      /done:"? .*redact, reset/s,
      /not ready: 0/
    ]],
    ["exactly-once", [/crashes, and the balance is 100 of 100/]],
    ["ftn18", [
      /registered: \{ r: true \}/,
      /added: \{ r: '2' \}/,
      /refused: \{[^}]*SecurityError/,
      /received ORDER_PAID \{"order":1\}[^]*received INVOICE_SENT \{"order":1\}/,
      /left: \{ r: \[\] \}/
    ]],
    ["dashboard", [/order of 1[^]*order of 2[^]*order of 3[^]*order of 4[^]*order of 5/]],
    [
      "archive",
      [
        /3 archived, 0 left/,
        /3 are the same in both/,
        /order 2 paid 200/,
        /"type":"PAID","key":"order-3".*"data":\{"order":3,"cents":300\}/
      ]
    ],
    ["remote", [/ships order 1[^]*ships order 2/]],
    ["remote-tls", [/over TLS: 0 events/]],
    ["standby", [/the active one was killed/, /200 of 200 events are handled/]]
  ])("%s", async (name, expected) => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-example-"))
    const { cert, key } = makeCertificate()
    Fs.writeFileSync(Path.join(folder, "cert.pem"), cert)
    Fs.writeFileSync(Path.join(folder, "key.pem"), key)
    const { code, output } = await run(`examples/${name}.ts`, folder, {
      TLS_CERT: Path.join(folder, "cert.pem"),
      TLS_KEY: Path.join(folder, "key.pem")
    })
    for (const pattern of expected) expect(output).toMatch(pattern)
    expect(output).not.toMatch(/order of 0/)
    expect(code).toBe(0)
    Fs.rmSync(folder, { recursive: true })
  })

  it.each([...backends])("the main job on %s", async (backend) => {
    const db = await createDatabase(backend)
    const { code, output } = await run("examples/main-job.ts", root, {
      JOB_TRANSACTIONS: "600",
      ...(backend === "sqlite" ? {} : { DATABASE_URL: db.url })
    })
    const left = backend === "sqlite" ? [] : await db.query(
      `SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'job%' AND table_schema = ${
        backend === "mysql" ? "DATABASE()" : "'public'"
      }`
    )
    await db.drop()
    expect(left).toEqual([])
    expect(output).toMatch(/Every consumer got exactly the committed events, in order\./)
    expect(output).toMatch(/consumers killed 1/)
    // expected = delivered, then lost, not committed, duplicates, out of order: all 0
    for (const name of ["AUDIT", "BALANCE", "LIVE"]) {
      expect(output).toMatch(new RegExp(`${name} .*│ ([1-9]\\d*) +│ \\1 +│ 0 +│ 0 +│ 0 +│ 0 +│`))
    }
    expect(code).toBe(0)
  })
})
