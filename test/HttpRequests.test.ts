/** Adding, polling and registering over plain HTTP, as a client sees them. */
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { afterAll, beforeAll, expect, it } from "vitest"
import * as Access from "../src/access.js"
import { Generator } from "../src/index.js"
import { servers } from "./support/backends.js"
import { basic, client, serve } from "./support/http.js"
import { type Proxy, startProxy } from "./support/proxy.js"
import { Gone, onEach, services } from "./support/stream.js"

const cloud = { "content-type": "application/cloudevents+json" }
const cloudBatch = { "content-type": "application/cloudevents-batch+json" }

onEach("Requests over HTTP", ({ prefix, run }) => {
  it("stores data as it is written, digit by digit, and gives it back the same", async () => {
    await run(
      Effect.gen(function*() {
        const { ask } = client(yield* serve())
        const data = `{"big": 12345678901234567890.120, "e":1E300,"tiny":-0, "text":"\\u00e9\\/\\u0000 ü 😀"}`
        const one = yield* ask(
          "POST",
          "/events",
          `{"type":"A","data":${data},"key":"k","correlationId":"c","version":2}`
        )
        expect(one).toMatchObject({ status: 200, json: { ids: ["1"] } })
        expect(one.headers.get("cache-control")).toBe("no-store")
        const list = `[{"type":"B", "data" :[1.0,\n 2e1] },{"data":null,"type":"A"}]`
        expect((yield* ask("POST", "/events", list)).json).toEqual({ ids: ["2", "3"] })
        expect((yield* ask("POST", "/events", "[]")).json).toEqual({ ids: [] })

        const polled = yield* ask("GET", "/events/poll")
        expect(polled.json).toMatchObject({
          events: [
            { id: "1", type: "A", key: "k", meta: { version: 2, correlationId: "c" } },
            { id: "2", type: "B" },
            { id: "3", type: "A", data: null }
          ],
          upTo: "3",
          generation: 1
        })
        expect(polled.text).toContain(`"data":${data}}`)
        expect(polled.text).toContain(`"data":[1.0,  2e1]}`)
        const events = yield* ask("GET", "/events/poll?format=cloudevents&want=A")
        expect(events.headers.get("content-type")).toBe("application/cloudevents-batch+json; charset=utf-8")
        expect(events.headers.get("evt-up-to")).toBe("3")
        expect(events.headers.get("evt-generation")).toBe("1")
        expect(events.text).toContain(`"data":${data}}`)
        for (const name of events.json.flatMap((event: object) => Object.keys(event))) {
          expect(name).toMatch(/^[a-z0-9]{1,20}$/)
        }
        expect(events.json[0]).toMatchObject({
          specversion: "1.0",
          id: "1",
          source: expect.stringMatching(/^urn:uuid:[0-9a-f-]{36}$/),
          type: "A",
          subject: "k",
          time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
          datacontenttype: "application/json",
          payloadversion: 2,
          correlationid: "c"
        })
        const accepted = yield* ask("GET", "/events/poll", undefined, { accept: "application/cloudevents-batch+json" })
        expect(accepted.json).toHaveLength(3)
      }),
      { prefix: prefix() }
    )
  })

  it("takes CloudEvents: source and id once, subject as key, trace and correlation as meta", async () => {
    await run(
      Effect.gen(function*() {
        const { ask } = client(yield* serve())
        const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        const event = (id: string, more = "") =>
          `{"specversion":"1.0","id":"${id}","source":"/shop","type":"PAID","subject":"o-1"${more},"data":1.50}`
        const one = event(
          "a",
          `,"traceparent":"${trace}","tracestate":"x=1","correlationid":"c","causationid":"d","time":"2020-01-01T00:00:00Z"`
        )
        expect((yield* ask("POST", "/events", one, cloud)).json).toEqual({ ids: ["1"] })
        // what is sent again is not stored again
        expect((yield* ask("POST", "/events", one, cloud)).json).toEqual({ ids: ["1"] })
        const batch = `[${event("b")},${event("a")},{"specversion":"1.0","id":"${
          "x".repeat(300)
        }","source":"s","type":"PAID"}]`
        const { ids } = (yield* ask("POST", "/events", batch, cloudBatch)).json
        expect(ids[1]).toBe("1")
        expect(new Set(ids).size).toBe(3)

        const { json, text } = yield* ask("GET", "/events/poll")
        expect(json.events[0]).toMatchObject({
          type: "PAID",
          key: "o-1",
          meta: { traceparent: trace, tracestate: "x=1", correlationId: "c", causationId: "d" }
        })
        expect(json.events).toHaveLength(3)
        expect(text).toContain(`"data":1.50}`)
        expect(json.events[2].data).toBe(null)
        const [back] = (yield* ask("GET", "/events/poll?format=cloudevents&limit=1")).json
        expect(back).toMatchObject({ traceparent: trace, tracestate: "x=1", correlationid: "c", causationid: "d" })
      }),
      { prefix: prefix() }
    )
  })

  it("registers, polls, acknowledges and removes consumers of the caller", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers } = yield* services
        const url = yield* serve()
        const ada = client(url)
        const bob = client(url, basic("bob"))
        for (let i = 1; i <= 4; i++) yield* ada.ask("POST", "/events", `{"type":"${i === 2 ? "A" : "B"}","data":${i}}`)
        expect(yield* ada.ask("POST", "/consumers/MAILER")).toMatchObject({
          status: 200,
          json: { consumer: "ada:MAILER", cursor: null }
        })
        expect((yield* ada.ask("POST", "/consumers/LATER", `{"from":"2","mode":"exclusive"}`)).json.cursor).toBe("2")
        expect((yield* ada.ask("POST", "/consumers/LATEST", `{"from":"end"}`)).json.cursor).toBe("4")
        const first = (yield* ada.ask("GET", "/events/poll?consumer=MAILER&limit=1")).json
        expect(first).toMatchObject({ events: [{ id: "1" }], upTo: "1" })
        const second = (yield* ada.ask("GET", `/events/poll?consumer=MAILER&lastId=1&want=A,C&generation=1`)).json
        expect(second).toMatchObject({ events: [{ id: "2" }], upTo: "4" })
        expect((yield* ada.ask("POST", "/events/ack", `{"consumer":"MAILER","upTo":"4"}`)).status).toBe(204)
        expect((yield* ada.ask("GET", "/events/poll?consumer=MAILER")).json.events).toEqual([])

        // nobody sees what others have, nor that they have it
        for (const [name, known] of [["MAILER", "MAILER"], ["NOBODY", "NOBODY"]] as const) {
          expect(yield* bob.ask("GET", `/events/poll?consumer=${name}`)).toMatchObject({
            status: 404,
            json: { error: "NotRegistered", consumer: `bob:${known}` }
          })
          expect((yield* bob.ask("POST", "/events/ack", `{"consumer":"${name}","upTo":"1"}`)).status).toBe(404)
          expect((yield* bob.ask("DELETE", `/consumers/${name}`)).status).toBe(404)
          expect((yield* bob.connect(`/events?consumer=${name}`)).status).toBe(404)
        }
        yield* bob.ask("POST", "/consumers/MAILER", `{"from":"beginning"}`)
        expect((yield* bob.ask("GET", "/events/poll?consumer=MAILER")).json.events).toHaveLength(4)
        expect((yield* consumers.list).map(({ consumer, cursor }) => [consumer, String(cursor)])).toEqual([
          ["ada:LATER", "2"],
          ["ada:LATEST", "4"],
          ["ada:MAILER", "4"],
          ["bob:MAILER", "undefined"]
        ])
        expect((yield* ada.ask("DELETE", "/consumers/MAILER")).status).toBe(204)
        expect((yield* ada.ask("DELETE", "/consumers/MAILER")).status).toBe(404)
        expect((yield* bob.ask("GET", "/events/poll?consumer=MAILER")).status).toBe(200)
      }),
      { prefix: prefix() }
    )
  })

  it("answers what makes no sense with a status, a tag and its fields", async () => {
    await run(
      Effect.gen(function*() {
        const { discarder, generator } = yield* services
        const { ask, connect } = client(yield* serve())
        yield* generator.addAll([1, 2, 3].map((id) => Generator.event(Gone, { id })))
        yield* discarder.once({ retain: { for: "0 seconds", events: 1 } })
        yield* ask("POST", "/consumers/EXCL", `{"mode":"exclusive"}`)
        const wrong: ReadonlyArray<[string, string, string | undefined, number, object]> = [
          ["POST", "/events", "{", 400, { error: "InvalidOption", option: "the body" }],
          ["POST", "/events", "[1]", 400, { error: "InvalidOption" }],
          ["POST", "/events", `{"data":1}`, 400, { error: "InvalidEvent", part: "type" }],
          ["POST", "/events", `{"type":"A"}`, 400, { error: "InvalidEvent", part: "data" }],
          ["POST", "/events", `{"type":"usr","data":1}`, 400, { error: "InvalidEvent", part: "type" }],
          ["POST", "/events", `{"type":"A","data":1,"dedupekey":"x"}`, 400, {
            error: "InvalidEvent",
            part: "dedupekey"
          }],
          ["POST", "/events", `{"type":"A","data":1,"key":7}`, 400, { error: "InvalidEvent", part: "key" }],
          ["POST", "/events", `{"type":"A","data":1,"version":0}`, 400, { error: "InvalidEvent", part: "meta" }],
          ["POST", "/events", `{"type":"A","data":"${"x".repeat(70_000)}"}`, 400, {
            error: "InvalidEvent",
            part: "data"
          }],
          ["GET", "/events/poll?consumr=A", undefined, 400, { error: "InvalidOption", option: "consumr" }],
          ["GET", "/events/poll?limit=1001", undefined, 400, { error: "InvalidOption", option: "limit" }],
          ["GET", "/events/poll?want=a", undefined, 400, { error: "InvalidOption", option: "want" }],
          ["GET", "/events/poll?lastId=x", undefined, 400, { error: "InvalidOption", option: "lastId" }],
          ["GET", "/events/poll?consumer=a-b", undefined, 400, { error: "InvalidConsumer", part: "component" }],
          ["GET", "/events/poll?consumer=EXCL", undefined, 409, { error: "ConsumerExclusive" }],
          ["GET", "/events/poll?lastId=9", undefined, 409, { error: "CursorAhead", cursor: "9", head: "3" }],
          ["GET", "/events/poll?lastId=3&generation=7", undefined, 409, { error: "StreamChanged", ours: 1, theirs: 7 }],
          ["POST", "/consumers/LIVE", undefined, 400, { error: "LiveNotAllowed" }],
          ["POST", "/consumers/A", `{"from":"soon"}`, 400, { error: "InvalidOption", option: "from" }],
          ["POST", "/consumers/A", `{"form":"end"}`, 400, { error: "InvalidOption", option: "form" }],
          ["POST", "/consumers/A", `{"from":"1"}`, 410, { error: "EventsDiscarded", after: "1", discardedTo: "2" }],
          ["POST", "/consumers/A", `{"from":"77"}`, 409, { error: "CursorAhead" }],
          ["POST", "/events/ack", `{"consumer":"EXCL","upTo":"3"}`, 409, { error: "ConsumerExclusive" }],
          ["POST", "/events/ack", `{"consumer":"EXCL","upTo":3}`, 400, { error: "InvalidOption", option: "upTo" }],
          ["POST", "/events/ack", `{"consumer":"EXCL","upTo":"9"}`, 409, { error: "CursorAhead" }],
          ["GET", "/events?from=1", undefined, 410, { error: "EventsDiscarded", discardedTo: "2" }],
          ["GET", "/events?lastEventId=9", undefined, 409, { error: "CursorAhead", head: "3" }],
          ["GET", "/events?from=sometime", undefined, 400, { error: "InvalidOption", option: "from" }],
          ["GET", "/events?want=a", undefined, 400, { error: "InvalidOption" }],
          ["GET", "/events?limit=10", undefined, 400, { error: "InvalidOption", option: "limit" }],
          ["GET", "/events?consumer=EXCL&from=1", undefined, 400, { error: "InvalidOption", option: "from" }],
          ["GET", "/events?consumer=EXCL&inFlight=0", undefined, 400, { error: "InvalidOption", option: "inFlight" }],
          ["GET", "/events?consumer=LIVE", undefined, 400, { error: "LiveNotAllowed" }]
        ]
        for (const [method, path, body, status, expected] of wrong) {
          const answer = yield* ask(method, path, body)
          expect([method, path, body?.slice(0, 40), answer.status]).toEqual([method, path, body?.slice(0, 40), status])
          expect(answer.json, path).toMatchObject({ ...expected, message: expect.stringMatching(/^\S.*\S$/) })
          expect(answer.json).not.toHaveProperty("cause")
        }
        expect(yield* ask("POST", "/events", "a=1", { "content-type": "application/x-www-form-urlencoded" }))
          .toMatchObject({ status: 415, json: { error: "InvalidOption", option: "Content-Type" } })
        for (
          const body of [
            `{"specversion":"0.3","id":"a","source":"s","type":"A"}`,
            `{"specversion":"1.0","type":"A"}`,
            "[]"
          ]
        ) {
          expect((yield* ask("POST", "/events", body, cloud)).status).toBe(400)
        }
        const binary = `{"specversion":"1.0","id":"a","source":"s","type":"A","data_base64":"AA=="}`
        expect((yield* ask("POST", "/events", binary, cloud)).json).toMatchObject({
          error: "InvalidEvent",
          part: "data"
        })
        expect((yield* ask("POST", "/events", Buffer.from(`{"type":"A","data":"\xff"}`, "latin1"))).json)
          .toMatchObject({ error: "InvalidOption", message: expect.stringContaining("UTF-8") })
        expect((yield* connect("/events?from=3")).status).toBe(200)
        expect((yield* ask("GET", "/events/poll")).json.upTo).toBe("3")
      }),
      { prefix: prefix() }
    )
  })

  it("knows callers by Basic and Bearer, and lets them do what they may", async () => {
    const { hash, token } = Effect.runSync(Access.makeToken)
    const password = await Effect.runPromise(Access.hashPassword("se:cret"))
    const access = Access.accounts([
      { user: "writer", password, rights: { emit: ["A"], poll: false, push: false } },
      { user: "viewer", token: hash, rights: { emit: false, poll: "live", push: "live" } }
    ])
    await run(
      Effect.gen(function*() {
        const url = yield* serve(undefined, access)
        for (
          const credentials of [
            {},
            basic("writer", "wrong"),
            basic("nobody", "se:cret"),
            { authorization: "Bearer x" },
            { authorization: "Basic" }
          ]
        ) {
          const { ask, connect } = client(url, credentials as Record<string, string>)
          const answer = yield* ask("GET", "/events/poll")
          expect(answer).toMatchObject({ status: 401, json: { error: "Unauthorized" } })
          expect(answer.headers.get("www-authenticate")).toMatch(/^Basic realm=.*, Bearer realm=/)
          expect((yield* ask("POST", "/events", `{"type":"A","data":1}`)).status).toBe(401)
          expect((yield* connect("/events")).status).toBe(401)
        }
        const writer = client(url, basic("writer", "se:cret"))
        const viewer = client(url, { authorization: `Bearer ${token}` })
        const event = `{"type":"A","data":1}`
        expect((yield* writer.ask("POST", "/events", event)).status).toBe(200)
        expect((yield* writer.ask("POST", "/events", `[${event},{"type":"B","data":1}]`)).json)
          .toMatchObject({ error: "Forbidden", user: "writer", needs: "emit B" })
        for (const path of ["/events/poll", "/events", "/events?consumer=A&register=end"]) {
          expect((yield* writer.ask("GET", path)).status).toBe(403)
        }
        expect((yield* viewer.ask("POST", "/events", event)).status).toBe(403)
        expect((yield* viewer.ask("GET", "/events/poll")).json.events).toHaveLength(1)
        expect((yield* viewer.ask("POST", "/consumers/A")).status).toBe(403)
        expect((yield* viewer.connect("/events?consumer=A&register=end")).status).toBe(403)
        expect((yield* viewer.connect("/events")).status).toBe(200)
      }),
      { prefix: prefix() }
    )
  })

  it("gives nobody more than the limits", async () => {
    await run(
      Effect.gen(function*() {
        const url = yield* serve({ limits: { messageBytes: 1000, userSubscriptions: 2, connections: 4 } })
        const ada = client(url)
        const long = `{"type":"A","data":"${"x".repeat(1000)}"}`
        expect(yield* ada.ask("POST", "/events", long))
          .toMatchObject({ status: 413, json: { error: "LimitExceeded", limit: "messageBytes", most: 1000 } })
        expect((yield* ada.ask("POST", "/consumers/A", long)).status).toBe(413)
        yield* ada.connect("/events")
        const second = yield* ada.connect("/events")
        const third = yield* ada.connect("/events")
        expect(third.status).toBe(429)
        expect(third.headers.get("retry-after")).toBe("1")
        expect(JSON.parse(third.text)).toMatchObject({ error: "LimitExceeded", limit: "userSubscriptions", most: 2 })
        const bob = client(url, basic("bob"))
        yield* bob.connect("/events")
        yield* bob.connect("/events")
        expect((yield* bob.ask("GET", "/events/poll")).json).toMatchObject({ limit: "connections", most: 4 })
        second.close()
        // it takes a moment until the server sees it
        while ((yield* ada.ask("GET", "/events/poll")).status === 429) yield* Effect.sleep(10)
        expect((yield* ada.ask("POST", "/events", `{"type":"A","data":1}`)).status).toBe(200)
      }),
      { prefix: prefix() }
    )
  })

  it("has an answer to anything, and goes on", async () => {
    await run(
      Effect.gen(function*() {
        const { ask } = client(yield* serve())
        const type = FastCheck.constantFrom("application/json", cloud["content-type"], cloudBatch["content-type"])
        const text = FastCheck.oneof(
          FastCheck.json(),
          FastCheck.string(),
          FastCheck.uint8Array({ maxLength: 200 }),
          FastCheck.record({
            specversion: FastCheck.constantFrom("1.0", 1),
            id: FastCheck.jsonValue(),
            source: FastCheck.string(),
            type: FastCheck.constantFrom("A", "a", ""),
            data: FastCheck.jsonValue(),
            key: FastCheck.jsonValue(),
            subject: FastCheck.string({ unit: "binary" })
          }, { requiredKeys: [] }).map((event) => JSON.stringify(event))
        )
        const path = FastCheck.oneof(
          FastCheck.constantFrom("/events", "/events/ack", "/consumers/A", "/consumers/%ff", "/consumers/a%2Fb"),
          FastCheck.webPath().map((path) => `/consumers${path}`)
        )
        const asked = FastCheck.tuple(path, type, text)
        for (const [path, contentType, body] of FastCheck.sample(asked, 150)) {
          const { status } = yield* ask("POST", path, body as string, { "content-type": contentType })
          expect([200, 204, 400, 404, 409], `${path} ${body}`).toContain(status)
        }
        const query = FastCheck.webQueryParameters().map((query) => `/events/poll?${query}`)
        for (const path of FastCheck.sample(query, 50)) {
          expect([200, 400], path).toContain((yield* ask("GET", path)).status)
        }
        expect((yield* ask("POST", "/events", `{"type":"LAST","data":1}`)).status).toBe(200)
      }),
      { prefix: prefix() }
    )
  })
})

onEach("Requests over HTTP to a database that is away", ({ backend, db, prefix, run }) => {
  let proxy: Proxy
  beforeAll(async () => {
    const { hostname, port } = new URL(db().url)
    proxy = await startProxy({ host: hostname, port: Number(port || (backend === "mysql" ? 3306 : 5432)) })
  })
  afterAll(() => proxy.stop())

  it("are answered with 503 and when to try again, without what the driver says", async () => {
    await run(
      Effect.gen(function*() {
        const { ask } = client(yield* serve())
        expect((yield* ask("POST", "/events", `{"type":"A","data":1}`)).status).toBe(200)
        proxy.accept(false)
        proxy.cutAll()
        for (
          const [method, path, body] of [["GET", "/events/poll"], ["POST", "/events", `{"type":"A","data":1}`], [
            "GET",
            "/events"
          ]] as const
        ) {
          const { headers, json, status, text } = yield* ask(method, path, body)
          expect([path, status]).toEqual([path, 503])
          expect(headers.get("retry-after")).toBe("1")
          expect(json).toMatchObject({ error: "StoreError", reason: "connection", retryable: true })
          expect(text).not.toMatch(/127\.0\.0\.1|ECONN|terminated|SELECT|evt_/)
        }
      }).pipe(Effect.ensuring(Effect.sync(() => proxy.accept(true)))),
      { prefix: prefix(), sequencer: "off" },
      { port: proxy.port }
    )
  })
}, { backends: servers })

onEach("The OpenAPI document", ({ prefix, run }) => {
  it("is complete, refers to what is there, and says where the routes are", async () => {
    await run(
      Effect.gen(function*() {
        const { ask } = client(yield* serve(), {})
        const { headers, json: document, status } = yield* ask("GET", "/openapi.json")
        expect(status).toBe(200)
        expect(headers.get("content-type")).toBe("application/json")
        expect(document).toMatchObject({ openapi: "3.1.0", info: { title: "Events" }, servers: [{ url: "/api" }] })
        const operations = Object.entries<any>(document.paths).flatMap(([path, methods]) =>
          Object.entries<any>(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation }))
        )
        expect(operations.map(({ method, path }) => `${method} ${path}`).sort()).toEqual([
          "DELETE /consumers/{name}",
          "GET /events",
          "GET /events/poll",
          "POST /consumers/{name}",
          "POST /events",
          "POST /events/ack"
        ])
        const schemes = Object.keys(document.components.securitySchemes).sort()
        expect(schemes).toEqual(["basic", "bearer"])
        for (const { method, operation, path } of operations) {
          expect(operation.description).toMatch(/\.$/)
          expect(operation.security).toEqual([{ basic: [] }, { bearer: [] }])
          for (const [, name] of path.matchAll(/\{(\w+)\}/g)) {
            expect(operation.parameters).toContainEqual(expect.objectContaining({ name, in: "path", required: true }))
          }
          expect(Object.keys(operation.responses)).toEqual(
            expect.arrayContaining(["400", "401", "403", "429", "500", "503"])
          )
          for (const [status, response] of Object.entries<any>(operation.responses)) {
            expect(response.description).not.toBe("")
            if (Number(status) < 400) continue
            expect(response.content["application/json"].schema).toEqual({ $ref: "#/components/schemas/Problem" })
          }
          // asked without credentials each of them exists, and answers as the document says
          const answer = yield* ask(method, path.replace("{name}", "A"), method === "POST" ? "{}" : undefined)
          expect([method, path, answer.status]).toEqual([method, path, 401])
        }
        expect(Object.keys(document.paths["/events"].get.responses["200"].content)).toEqual(["text/event-stream"])
        expect(Object.keys(document.paths["/events"].post.requestBody.content)).toEqual([
          "application/json",
          "application/cloudevents+json",
          "application/cloudevents-batch+json"
        ])
        const text = JSON.stringify(document)
        for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
          expect(document.components.schemas).toHaveProperty(name!)
        }
        expect(text).not.toMatch(/HttpApiDecodeError|\$id|undefined/)
      }),
      { prefix: prefix() }
    )
  })
}, { backends: ["sqlite"] })
