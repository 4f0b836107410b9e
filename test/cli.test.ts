/** The command `evt` as it is used: a process with arguments, an environment, outputs and an exit code. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { EventType, Generator } from "../src/index.js"
import { createDatabase, servers, type TestDatabase } from "./support/backends.js"
import { built } from "./support/built.js"

const main = built("src/cli/main.ts")

interface Answer {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

const environment = (env: Record<string, string>) => {
  const { COLUMNS: _c, DATABASE_URL: _d, EVT_HISTORY_URL: _h, NO_COLOR: _n, ...rest } = process.env
  return { ...rest, ...env }
}

const collect = (child: ChildProcess.ChildProcess) =>
  new Promise<Answer>((resolve) => {
    let out = ""
    let err = ""
    child.stdout!.on("data", (data) => out += data)
    child.stderr!.on("data", (data) => err += data)
    child.once("close", (code) => resolve({ code, out, err }))
  })

const start = (env: Record<string, string>, args: ReadonlyArray<string>) =>
  ChildProcess.spawn(process.execPath, [main, ...args], { env: environment(env) })

const command = (env: () => Record<string, string>) => {
  const evt = (...args: ReadonlyArray<string>) => collect(start(env(), args))
  const json = async (...args: ReadonlyArray<string>) => {
    const { code, err, out } = await evt(...args, "--json")
    // what takes longer than half a second says how far it is
    const said = err.split("\n").filter((line) => line !== "" && !/^\d+ of \d+ (archived|discarded)$/.test(line))
    expect({ code, said }).toEqual({ code: 0, said: [] })
    return JSON.parse(out)
  }
  return { evt, json }
}

const Big = EventType.make("BIG", Schema.Struct({ text: Schema.String }))

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-cli-"))
afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }))

describe("evt in short", () => {
  it("makes tables, emits, archives, and says how it is", async () => {
    const db = await createDatabase("sqlite")
    const { evt, json } = command(() => ({ DATABASE_URL: db.url, EVT_HISTORY_URL: Path.join(folder, "short.db") }))
    expect(await json("migrate")).toEqual({ migrated: ["stream", "history"] })
    expect(await json("emit", "USR_ADD", "{\"id\":1}")).toEqual({ id: "1" })
    expect(await json("archive", "--once")).toMatchObject({ archived: 1, upTo: "1", behind: 0 })
    expect((await json("doctor", "--verify")).verified).toBe(1)
    expect(await json("restored")).toEqual({ generation: 2, head: "1000001" })
    expect((await evt("emit", "usr", "{}")).code).toBe(2)
    await db.drop()
  }, 300_000)
})

/** Everything that there is, once; on the servers what touches most of the database. Each command takes seconds. */
describe.each(["sqlite" as const, ...servers])("evt (%s)", (backend) => {
  let db: TestDatabase
  const env = () => ({ DATABASE_URL: db.url, EVT_HISTORY_URL: Path.join(folder, `history-${backend}.db`) })
  const { evt, json } = command(env)
  beforeAll(async () => {
    db = await createDatabase(backend)
  })
  afterAll(() => db?.drop())

  it("looks after a stream from its first table to its last event", async () => {
    expect((await evt("status")).code).toBe(3)
    expect(await json("migrate")).toEqual({ migrated: ["stream", "history"] })
    expect(await json("consumers", "register", "MAILER")).toEqual({ consumer: "local:MAILER", cursor: null })
    expect(await evt("emit", "USR_ADD", "{\"id\":1}", "--key", "ada")).toEqual({ code: 0, out: "1\n", err: "" })
    expect(await json("emit", "--dedupe", "once", "USR_DEL", "-5")).toEqual({ id: "2" })

    const batch = await json("poll", "MAILER", "--want", "USR_ADD, OTHER")
    expect(batch.events).toMatchObject([{ id: "1", type: "USR_ADD", key: "ada", data: { id: 1 } }])
    expect((await json("poll", "MAILER", "--last-id", "1", "--limit", "1")).events).toMatchObject([{
      id: "2",
      data: -5
    }])
    const { consumers, head } = await json("status")
    expect(head).toBe("2")
    expect(consumers).toMatchObject([{ consumer: "local:MAILER", cursor: "1", lag: { events: 1 }, state: "idle" }])

    await json("consumers", "pause", "MAILER", "--why", "a holiday")
    expect((await evt("consumers", "list")).out).toMatch(/^local:MAILER +paused +1 +1 .*a holiday$/m)
    expect((await json("poll", "MAILER")).events).toEqual([])
    if (backend === "sqlite") {
      await json("consumers", "resume", "MAILER")
      expect((await json("consumers", "reset", "MAILER", "--to", "beginning")).cursor).toBe(null)
      expect((await json("consumers", "reset", "MAILER", "--to", "1")).cursor).toBe("1")
      expect((await json("consumers", "reset", "MAILER", "--to", "2999-01-01T00:00:00Z")).cursor).toBe("2")
      expect(await json("dead-letters", "list", "MAILER")).toEqual([])
      expect(await json("dead-letters", "redrive", "MAILER")).toEqual({ redriving: 0 })
      expect(await json("dead-letters", "drop", "MAILER", "--all")).toEqual({ dropped: 0 })
    } else await json("consumers", "remove", "MAILER")

    expect(await json("archive", "--once")).toMatchObject({ archived: 2, upTo: "2", behind: 0 })
    const lines = (await evt("history", "export", "--want", "USR_ADD")).out.trim().split("\n")
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ id: "1", type: "USR_ADD", data: { id: 1 } }])
    if (backend !== "sqlite") return
    expect((await evt("history", "export", "--until", "2001-01-01")).out).toBe("")
    // the history has it, too
    expect(await json("consumers", "redact", "--key", "ada")).toEqual({ log: 1, history: 1, deadLetters: 0 })
    expect((await evt("history", "export")).out).not.toContain("ada")
    expect((await evt("discard", "--once", "--retain", "1 hour")).out).toMatch(/^0 discarded.*retained\n$/)
    expect(await json("discard", "--once", "--retain", "0 millis")).toMatchObject({
      deleted: 2,
      discardedTo: "2",
      left: 0
    })

    await json("consumers", "remove", "MAILER", "--dead-letters", "drop")
    const audit = await json("consumers", "audit", "local:MAILER")
    expect(audit.map(({ action }: any) => action)).toEqual(
      expect.arrayContaining(["remove", "reset", "resume", "pause"])
    )
    for (const { actor } of audit) expect(actor).toBe(`evt:${Os.userInfo().username}`)
  }, 400_000)
})

describe("evt", () => {
  let db: TestDatabase
  const env = () => ({ DATABASE_URL: db.url, EVT_HISTORY_URL: Path.join(folder, "history.db") })
  const { evt, json } = command(env)
  const emit = (count: number) =>
    Effect.runPromise(Effect.provide(
      Effect.flatMap(Generator.Generator, (generator) =>
        generator.addAll(Array.from({ length: count }, () =>
          Generator.event(Big, { text: "x".repeat(500) })))),
      db.stream({ migrate: "check" })
    ))
  beforeAll(async () => {
    db = await createDatabase("sqlite")
    await json("migrate")
  })
  afterAll(() => db?.drop())

  it("fits into the width that there is, without colours in a pipe", async () => {
    const user = "a-user-with-a-very-long-name.of.47.characters.x"
    await json("consumers", "register", `${user}:INDEXER`)
    await json(
      "consumers",
      "pause",
      `${user}:INDEXER`,
      "--why",
      "waits\u001b[31m for the index\nto be built ".repeat(5)
    )
    for (const columns of [80, 40]) {
      const answers = []
      for (const args of [["status"], ["consumers", "audit"]]) {
        answers.push(await collect(start({ ...env(), COLUMNS: String(columns) }, args)))
      }
      for (const { code, out } of answers) {
        expect(code).toBe(0)
        // eslint-disable-next-line no-control-regex
        expect(out).not.toMatch(/\u001b/)
        const table = out.split("\n").filter((line) => !line.startsWith("stream "))
        expect(Math.max(...table.map((line) => line.length))).toBeLessThanOrEqual(columns)
        expect(out).toContain("…")
      }
    }
  })

  it("ends quietly when nobody reads any more", async () => {
    for (let i = 0; i < 3; i++) await emit(1000)
    expect((await json("archive", "--once")).archived).toBe(3000)
    const script = `"$0" "$1" history export | head -n 1; echo "code \${PIPESTATUS[0]}"`
    const { err, out } = await collect(
      ChildProcess.spawn("bash", ["-c", script, process.execPath, main], { env: environment(env()) })
    )
    expect(err).toBe("")
    const [first, code] = out.trim().split("\n")
    expect(JSON.parse(first!).type).toBe("BIG")
    expect(code).toBe("code 0")
  })

  it("shows events as they come, until it is interrupted", async () => {
    const child = start(env(), ["tail", "--json", "--want", "BIG"])
    const answer = collect(child)
    let seen = false
    child.stdout.once("data", () => seen = true)
    while (!seen && child.exitCode === null) {
      await emit(1)
      // SQLite answers without leaving a turn to the pipe
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    child.kill("SIGINT")
    const { code, err, out } = await answer
    expect({ code, err }).toEqual({ code: 130, err: "" })
    expect(JSON.parse(out.split("\n")[0]!)).toMatchObject({ type: "BIG" })
  })

  it("gives its lease back when it is interrupted", async () => {
    await emit(1)
    const child = start(env(), ["archive", "--json"])
    const answer = collect(child)
    await new Promise((resolve) => child.stdout.once("data", resolve))
    const archiver = async () =>
      (await json("consumers", "list")).find(({ component }: any) => component === "ARCHIVER")
    expect((await archiver()).state).toBe("active")
    child.kill("SIGINT")
    expect((await answer).code).toBe(130)
    expect((await archiver()).lease).toBe(null)
  })

  it.each([
    [["emit", "usr", "{}"], /type must fit/],
    [["emit", "USR", "[1, 2"], /data is not JSON/],
    [["emit"], /Missing argument <type>/],
    [["emit", "USR", "{}", "--kye", "x"], /there is no option --kye/],
    [["poll", "no spaces"], /component of a consumer must be/],
    [["poll", "LIVE", "--limit"], /--limit needs a value/],
    [["consumers", "reset", "X", "--to", "yesterday"], /--to must be/],
    [["discard", "--once", "--retain", "long"], /must be a duration/],
    [["bogus"], /Invalid subcommand/]
  ])("refuses %j", async (args, why) => {
    const { code, err, out } = await evt(...args)
    expect(err).toMatch(why)
    expect(err).toMatch(/^evt: [^\n]+\n$/)
    expect({ code, out }).toEqual({ code: 2, out: "" })
  })

  it("says what failed", async () => {
    const { code, err } = await evt("consumers", "resume", "nobody:HERE")
    expect(code).toBe(1)
    expect(err).toMatch(/^evt: Consumer nobody:HERE is not registered[^\n]*\n$/)
  })

  it.each([
    ["postgres://127.0.0.1:1/x", 3],
    ["mariadb://root@127.0.0.1:1/x", 3],
    [Path.join(folder, "not-there.db"), 3],
    [import.meta.filename, 3],
    ["", 2]
  ])("with the database %s", async (DATABASE_URL, expected) => {
    const { code, err, out } = await collect(start({ DATABASE_URL }, ["status"]))
    expect(err).toMatch(/^evt: [^\n]+\n$/)
    expect({ code, out }).toEqual({ code: expected, out: "" })
    if (!DATABASE_URL.startsWith("postgres")) return
    const { err: more } = await collect(start({ DATABASE_URL }, ["status", "--verbose"]))
    expect(more).toMatch(/\n {2}because: /)
    expect(more).not.toMatch(/^ +at /m)
  })

  it("explains itself", async () => {
    const { code, out } = await evt("--help")
    expect(code).toBe(0)
    for (const word of ["DATABASE_URL", "EXIT CODES", "130", "dead-letters redrive", "history export"]) {
      expect(out).toContain(word)
    }
    // eslint-disable-next-line no-control-regex
    expect(out).not.toMatch(/\u001b/)
  })
})
