/** A client of FTN18 without any package of FutoIn: bytes as they are. */
import * as Http from "node:http"
import * as Https from "node:https"
import { WebSocket } from "ws"
import { coderOf } from "../../src/layers/ftn18/coder.js"

export const sec = "evtuser:evtpass"
export const other = "evtother:otherpass"
export const macKey = Buffer.from("0123456789abcdef0123456789abcdef")

export interface Target {
  readonly port: number
  readonly path?: string | undefined
  /** Certificate to trust: then by TLS. */
  readonly ca?: string | undefined
}

export interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly body: Buffer
  readonly json: any
}

export const request = (
  { ca, path = "/", port }: Target,
  body: unknown,
  options: { readonly method?: string; readonly headers?: Record<string, string> } = {}
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const bytes = body instanceof Uint8Array
      ? body
      : Buffer.from(typeof body === "string" ? body : JSON.stringify(body))
    const { headers, method = "POST" } = options
    const sent = (ca === undefined ? Http : Https).request({
      host: "127.0.0.1",
      port,
      path,
      method,
      ...(ca === undefined ? {} : { ca }),
      headers: { "content-type": "application/futoin+json", ...headers }
    }, (response) => {
      const chunks: Array<Buffer> = []
      response.on("data", (chunk) => chunks.push(chunk)).on("error", reject)
      response.on("end", () => {
        const body = Buffer.concat(chunks)
        let json: unknown
        try {
          json = JSON.parse(body.toString())
        } catch {
          // not every answer is JSON
        }
        resolve({ status: response.statusCode!, headers: response.headers, body, json })
      })
    })
    sent.once("error", reject)
    if (method === "GET") sent.end()
    else sent.end(bytes)
  })

/** One call over HTTP: the result, or the error's name and text. */
export const call = async (target: Target, f: string, p: unknown, who: string | undefined = sec): Promise<any> => {
  const { json } = await request(target, { f, p, ...(who === undefined ? {} : { sec: who }) })
  return "e" in json ? json : json.r
}

export interface Socket {
  readonly ws: WebSocket
  readonly send: (message: unknown) => void
  /** The answer to a request, by its id. */
  readonly ask: (f: string, p: unknown, who?: string) => Promise<any>
  /** Calls of the server that are not answered yet, the oldest first; `answer` removes it. */
  readonly push: () => Promise<{ readonly seq: number; readonly ids: ReadonlyArray<string>; readonly message: any }>
  readonly answer: (push: { readonly message: any }, answer?: object) => void
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>
}

export const connect = ({ ca, path = "/", port }: Target): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const ws = new WebSocket(`${ca === undefined ? "ws" : "wss"}://127.0.0.1:${port}${path}`, {
      perMessageDeflate: false,
      ...(ca === undefined ? {} : { ca })
    })
    const answers = new Map<string, (answer: any) => void>()
    const pushes: Array<any> = []
    let waiting: Array<() => void> = []
    let rids = 0
    let code: number | undefined
    const wake = () => {
      for (const f of waiting.splice(0)) f()
    }
    ws.on("message", (data) => {
      const bytes = data as Buffer
      const message = coderOf(bytes).decode(bytes).value as any
      if (message.f !== undefined) pushes.push(message)
      else answers.get(message.rid)?.(message)
      wake()
    })
    const send = (message: unknown) => ws.send(Buffer.from(JSON.stringify(message)))
    const closed = new Promise<{ code: number; reason: string }>((resolve) =>
      ws.once("close", (number, reason) => {
        code = number
        for (const answer of answers.values()) answer({ e: "CommError", edesc: `closed with ${number}` })
        wake()
        resolve({ code: number, reason: String(reason) })
      })
    )
    ws.once("error", reject)
    ws.once("open", () => {
      ws.on("error", () => {})
      resolve({
        ws,
        send,
        closed,
        ask: (f, p, who = sec) =>
          new Promise((resolve) => {
            const rid = `C${++rids}`
            answers.set(rid, (message) => {
              answers.delete(rid)
              resolve("e" in message ? message : message.r)
            })
            send({ f, p, rid, sec: who })
          }),
        push: async () => {
          while (pushes.length === 0) {
            if (code !== undefined) throw new Error(`closed with ${code}`)
            await new Promise<void>((resolve) => (waiting = [...waiting, resolve]))
          }
          const message = pushes.shift()
          return { seq: message.p.seq, ids: message.p.events.map(({ id }: any) => id), message }
        },
        answer: ({ message }, answer = { r: true }) => send({ ...answer, rid: message.rid })
      })
    })
  })
