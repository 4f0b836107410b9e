/**
 * One HTTP request, one message: always status 200, what went wrong is in the message (FTN5).
 */
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { IncomingMessage, ServerResponse } from "node:http"
import * as Limits from "../network/limits.js"
import type { Addresses } from "./addresses.js"
import { type Coder, coderOf, type Decoded, json, type Message } from "./coder.js"
import type { Dispatch } from "./dispatch.js"
import { callOf } from "./envelope.js"
import { kib64 } from "./interfaces.js"

export interface Options {
  /** Path of the endpoint, without `/` at its end. */
  readonly path: string
  readonly dispatch: Dispatch
  readonly quota: Limits.Quota
  readonly requests: Addresses
  /** Bytes of long answers that are on their way. */
  readonly answers: Addresses
  readonly from: (request: IncomingMessage) => { readonly address: string; readonly secure: boolean }
}

/** A client that takes nothing of its answer for so long is cut off, milliseconds. */
const stalled = 30_000

/** The body, unless it is longer than a message may be. */
const bodyOf = (request: IncomingMessage): Effect.Effect<Uint8Array | undefined> =>
  Effect.async((resume) => {
    const chunks: Array<Buffer> = []
    let length = 0
    const data = (chunk: Buffer) => {
      length += chunk.length
      if (length <= kib64) chunks.push(chunk)
      else end(undefined)
    }
    const end = (body: Uint8Array | undefined) => {
      request.off("data", data)
      resume(Effect.succeed(body))
    }
    request.on("data", data).once("end", () => end(Buffer.concat(chunks)))
    // nobody is there to be answered
    request.once("error", () => resume(Effect.interrupt)).once("close", () => {
      if (!request.complete) resume(Effect.interrupt)
    })
  })

/** Nothing that JSON has: it is refused as a message without a function. */
const nothing: Decoded = { value: null, data: () => undefined }

const decode = (coder: Coder, body: Uint8Array): Decoded => {
  try {
    return coder.decode(body)
  } catch {
    return nothing
  }
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const basicOf = ({ headers }: IncomingMessage): string | undefined => {
  const [, code] = /^Basic ([A-Za-z0-9+/=]+)$/.exec(headers.authorization ?? "") ?? []
  return code === undefined ? undefined : Buffer.from(code, "base64").toString("utf8")
}

/** `interface/version/function[/credentials]?name=value`: what does not fit as a text is read as JSON. */
const fromUrl = (parts: ReadonlyArray<string>, query: string, request: IncomingMessage): Decoded => {
  const f = parts.slice(0, 3).join(":")
  const sec = parts.length > 3 ? decoded(parts[3]!) : basicOf(request)
  const call = callOf({ f }, true)
  const parameters = call._tag === "Right" ? call.right.func.parameters : {}
  const p: Record<string, unknown> = {}
  for (const [name, text] of new URLSearchParams(query)) {
    let value: unknown = text
    if (Object.hasOwn(parameters, name) && !parameters[name]!.fits(text)) {
      try {
        value = json.decode(Buffer.from(text)).value
      } catch {
        // what fits neither way is refused as it was given
      }
    }
    Object.defineProperty(p, name, { value, enumerable: true, configurable: true, writable: true })
  }
  const message: Message = sec === undefined ? { f, p } : { f, p, sec }
  return { value: message, data: () => JSON.stringify(p.data) }
}

const empty = (status: number) => HttpServerResponse.empty({ status, headers: { connection: "close" } })

export const app = (options: Options) =>
  Effect.gen(function*() {
    const served = yield* HttpServerRequest.HttpServerRequest
    const request = NodeHttpServerRequest.toIncomingMessage(served)
    const response = NodeHttpServerRequest.toServerResponse(served)
    const from = options.from(request)
    const [path, query = ""] = (request.url ?? "/").split("?", 2) as [string, string?]
    const parts = path.slice(options.path.length).split("/").filter((part) => part !== "")
    if (parts.length > 4) return empty(404)
    const isMessage = parts.length === 0
    if (request.method !== "POST" && (isMessage || request.method !== "GET")) return empty(400)

    const answered = Effect.gen(function*() {
      yield* options.requests.take(from.address)
      const connection = yield* options.quota.connect
      const body = isMessage ? yield* bodyOf(request) : new Uint8Array()
      if (body === undefined) {
        yield* Limits.refused("ftn18", "messageBytes")
        return empty(413)
      }
      const coder = isMessage ? coderOf(body) : json
      const message = isMessage ? decode(coder, body) : fromUrl(parts, query, request)
      const peer = { ...from, bidirectional: false, connection, ready: undefined }
      const answer = coder.encode(yield* options.dispatch(message, coder, peer))
      if (answer.length > kib64) yield* longAnswer(options.answers, from.address, answer.length, response)
      return typed(coder, request, answer)
    })
    return yield* Effect.catchAll(Effect.scoped(answered), ({ message }) =>
      Effect.succeed(typed(json, request, json.encode({ e: "DefenseRejected", edesc: message }))))
  })

/** A long answer counts until it has left, and only its own reader waits for a slow one. */
const longAnswer = (answers: Addresses, address: string, bytes: number, response: ServerResponse) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const end = () => Effect.runFork(Scope.close(scope, Exit.void))
    yield* Effect.onError(Scope.extend(answers.take(address, bytes), scope), () => Effect.sync(end))
    response.once("close", end)
    response.setTimeout(stalled, () => response.destroy())
  })

/** A client that names the type of FTN5 1.4 is answered in kind; others know the old one only. */
const typed = (coder: Coder, request: IncomingMessage, body: Uint8Array) => {
  const vendor = /application\/vnd\.futoin\b/.test(`${request.headers["content-type"]} ${request.headers.accept}`)
  return HttpServerResponse.uint8Array(body, {
    contentType: `application/${vendor ? "vnd." : ""}futoin+${coder.name}`,
    headers: { "cache-control": "no-store" }
  })
}
