/** `evt serve` and `evt --url`, as they are used. */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { createDatabase, type TestDatabase } from "./support/backends.js"
import { built } from "./support/built.js"
import { connect } from "./support/sse.js"

const main = built("src/cli/main.ts")

const start = (env: Record<string, string>, args: ReadonlyArray<string>) => {
  const { DATABASE_URL: _d, EVT_HISTORY_URL: _h, ...rest } = process.env
  const child = ChildProcess.spawn(process.execPath, [main, ...args], {
    env: { ...rest, ...env }
  })
  children.add(child)
  let out = ""
  let err = ""
  const waiting = new Set<() => void>()
  const said = (data: Buffer, which: "out" | "err") => {
    if (which === "out") out += data.toString()
    else err += data.toString()
    for (const f of waiting) f()
  }
  child.stdout.on("data", (data) => said(data, "out"))
  child.stderr.on("data", (data) => said(data, "err"))
  const ended = new Promise<{ code: number | null; out: string; err: string }>((resolve) =>
    child.once("close", (code) => {
      children.delete(child)
      resolve({ code, out, err })
    })
  )
  return {
    child,
    ended,
    /** What matches in standard error, now or later. */
    says: (pattern: RegExp) =>
      new Promise<RegExpExecArray>((resolve, reject) => {
        const look = () => {
          const found = pattern.exec(err)
          if (found === null) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        void ended.then(() => reject(new Error(`ended without saying ${pattern}: ${err}`)))
        look()
      })
  }
}
const children = new Set<ChildProcess.ChildProcess>()
afterAll(() => {
  for (const child of children) child.kill("SIGKILL")
})

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-serve-"))
afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }))
const accounts = Path.join(folder, "accounts.json")
const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`
})

describe("evt serve", () => {
  let db: TestDatabase
  const evt = (env: Record<string, string>, ...args: ReadonlyArray<string>) => start(env, args).ended
  const hashOf = (password: string) => {
    const { child, ended } = start({}, ["hash"])
    child.stdin.end(`${password}\n`)
    return ended
  }
  beforeAll(async () => {
    db = await createDatabase("sqlite")
    expect((await evt({ DATABASE_URL: db.url }, "migrate")).code).toBe(0)
  })
  afterAll(() => db?.drop())

  it("serves one stream in four ways, to who is known, until it is told to end", async () => {
    const password = await hashOf("pass-word")
    expect(password.code).toBe(0)
    const { hash, token } = JSON.parse((await evt({}, "hash", "--token", "--json")).out)
    const ada = { user: "ada", password: password.out.trim() }
    Fs.writeFileSync(accounts, JSON.stringify([ada, { user: "root", token: hash, rights: { administer: true } }]))
    const env = {
      DATABASE_URL: db.url,
      EVT_ACCOUNTS: accounts,
      EVT_LISTEN: "127.0.0.1:0",
      EVT_HISTORY_URL: Path.join(folder, "history.db")
    }
    expect((await evt(env, "migrate")).code).toBe(0)
    const server = start(env, ["serve", "--archive", "--discard"])
    const [, url] = await server.says(/ at (http:\S+)/)
    for (
      const line of [
        /RPC: ws:\S+\/rpc/,
        /FTN18: ws:\S+\/ftn18/,
        /Events: http:\S+\/events/,
        /health: /,
        /2 accounts/,
        /archives/,
        /discards/
      ]
    ) {
      await server.says(line)
    }

    // by HTTP, watched by Server-Sent Events
    const headers = basic("ada", "pass-word")
    const watching = await connect(`${url}/events`, headers)
    const added = await fetch(`${url}/events`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json" },
      body: `{"type":"A","data":12345678901234567890}`
    })
    expect(await added.json()).toEqual({ ids: ["1"] })
    // by RPC, over both transports
    const remote = { EVT_URL: url!, EVT_USER: "ada", EVT_PASSWORD: "pass-word" }
    expect(await evt(remote, "emit", "B", "[1.0]")).toEqual({ code: 0, out: "2\n", err: "" })
    expect((await evt(remote, "consumers", "register", "MAILER", "--url", url!.replace("http", "ws"))).code).toBe(0)
    expect((await evt(remote, "poll", "MAILER", "--json")).out).toMatch(
      /"data":12345678901234567890\}.*"data":\[1\.0\]\}/
    )
    expect((await watching.take(2)).map(({ event }) => event)).toEqual(["A", "B"])
    // by FTN18
    const ping = await fetch(`${url}/ftn18`, {
      method: "POST",
      headers: { "content-type": "application/futoin+json" },
      body: JSON.stringify({ f: "futoin.ping:1.0:ping", p: { echo: 7 }, sec: "ada:pass-word" })
    })
    expect(await ping.json()).toMatchObject({ r: { echo: 7 } })

    const administrator = { EVT_URL: url!, EVT_TOKEN: token }
    const status = JSON.parse((await evt(administrator, "status", "--json")).out)
    expect(status.head).toBe("2")
    expect(status.consumers.map(({ consumer }: any) => consumer)).toContain("ada:MAILER")
    expect(await evt(remote, "status")).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^evt: ada may not do this[^\n]+\n$/)
    })
    expect(await evt({ ...remote, EVT_PASSWORD: "wrong" }, "poll", "MAILER"))
      .toMatchObject({ code: 1, err: expect.stringMatching(/^evt: Not authorized[^\n]+\n$/) })
    expect(await evt({ ...env, ...administrator }, "archive", "--once")).toMatchObject({ code: 2, out: "" })

    // the metrics, and who is behind, are not for everybody
    const health = async (path: string, headers = {}) => {
      const answer = await fetch(url + path, { headers })
      return { status: answer.status, text: await answer.text() }
    }
    const bearer = { authorization: `Bearer ${token}` }
    expect(await health("/health/live")).toEqual({ status: 200, text: `{"status":"well"}` })
    expect((await health("/health/ready", headers)).text).toBe(`{"status":"well"}`)
    expect((await health("/health/ready", bearer)).text).toBe(`{"status":"ready"}`)
    expect((await health("/metrics")).status).toBe(401)
    expect((await health("/metrics", headers)).status).toBe(403)
    expect((await health("/metrics", bearer)).text).toMatch(/^evt_server_connections\{transport="http"\} \d/m)

    // accounts change while it runs; a mistake in them changes nothing
    Fs.writeFileSync(accounts, "[{\"user\":\"ada\"")
    server.child.kill("SIGHUP")
    await server.says(/the accounts stay as they are: \S+ is no JSON list of accounts/)
    expect((await health("/events/poll", headers)).status).toBe(200)
    Fs.writeFileSync(accounts, JSON.stringify([{ user: "bob", token: hash }]))
    server.child.kill("SIGHUP")
    await server.says(/1 accounts of \S+ from now on/)
    expect((await health("/events/poll", headers)).status).toBe(401)
    expect((await health("/events/poll", bearer)).status).toBe(200)

    server.child.kill("SIGTERM")
    const { code } = await server.ended
    expect(code).toBe(0)
    await watching.ended
    expect((await evt(administrator, "status")).code).toBe(3)
    // what it had in hand is archived and given back
    expect(JSON.parse((await evt(env, "archive", "--once", "--json")).out).behind).toBe(0)
  }, 400_000)

  it.each([
    [[], {}, /who may do what/],
    [["--trust"], { EVT_ACCOUNTS: accounts }, /who may do what/],
    [["--trust", "--listen", "0.0.0.0:0"], {}, /--trust is for loopback/],
    [["--trust", "--listen", "8080"], {}, /must be host:port/],
    [["--accounts", "/not/there.json"], {}, /cannot read the accounts/],
    [["--accounts", main], {}, /is no JSON list of accounts/],
    [["--trust", "--archive"], {}, /--archive needs EVT_HISTORY_URL/],
    [["--trust"], { EVT_TLS_CERT: "cert.pem" }, /EVT_TLS_CERT and EVT_TLS_KEY go together/],
    [["--trust"], { EVT_URL: "http://127.0.0.1:1" }, /needs the database itself/]
  ])("refuses to start with %j and %j", async (args, env, why) => {
    const { code, err, out } = await evt({ DATABASE_URL: db.url, ...env }, "serve", ...args)
    expect(err).toMatch(why)
    expect(err).toMatch(/^evt: [^\n]+\n$/)
    expect({ code, out }).toEqual({ code: 2, out: "" })
  })

  it("says where an account is wrong, and not what it has there", async () => {
    const file = Path.join(folder, "wrong.json")
    for (
      const [list, why] of [
        [[{ user: "ada", password: "a secret" }], /password must be a hash/],
        [[{ user: "ada", pasword: "a secret" }], /pasword.* is unexpected/],
        [[{ user: "ada", token: ["a secret"] }], /token is not what is needed/],
        [[{ user: "a b", token: "a secret" }], /user must be/],
        [[], /has no account/]
      ] as const
    ) {
      Fs.writeFileSync(file, JSON.stringify(list))
      const { code, err } = await evt({ DATABASE_URL: db.url }, "serve", "--accounts", file)
      expect(err).toMatch(why)
      expect(err).not.toContain("a secret")
      expect(code).toBe(2)
    }
    expect((await hashOf("")).code).toBe(2)
    expect((await hashOf("two\nlines")).code).toBe(2)
  }, 120_000)
})
