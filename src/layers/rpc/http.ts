/**
 * The protocol of the server over HTTP: one call in a POST, its answer, or stream of answers, in the response. Nothing is
 * acknowledged there and nobody hears of an end for certain, so what is not read holds the stream back, and streams end
 * by themselves after a while.
 */
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { FromClientEncoded, FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Limits from "../network/limits.js"
import * as Messages from "./messages.js"

interface Entry {
  readonly connection: Limits.Connection
  readonly send: (response: FromServerEncoded) => Effect.Effect<unknown>
  readonly end: Effect.Effect<unknown>
}

/** Answers that may wait to be read. */
const waiting = 2

export const make = (quota: Limits.Quota) =>
  Effect.gen(function*() {
    const serialization = Messages.serialization(quota.settings.messageBytes)
    const { contentType } = serialization
    const disconnects = yield* Mailbox.make<number>()
    const entries = new Map<number, Entry>()
    let next = 0
    let write: (clientId: number, message: FromClientEncoded) => Effect.Effect<void> = () => Effect.void

    const protocol = yield* RpcServer.Protocol.make((writeRequest) => {
      write = writeRequest
      return Effect.succeed({
        disconnects,
        send: (clientId, response) => Effect.asVoid(entries.get(clientId)?.send(response) ?? Effect.void),
        end: (clientId) => Effect.asVoid(entries.get(clientId)?.end ?? Effect.void),
        clientIds: Effect.sync(() => new Set(entries.keys())),
        initialMessage: Effect.succeed(Option.none()),
        supportsAck: false,
        supportsTransferables: false,
        supportsSpanPropagation: false
      })
    })

    const refuse = (status: number, why: string) =>
      Effect.as(Limits.refused("rpc", why), HttpServerResponse.empty({ status }))

    const body = Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => request.arrayBuffer).pipe(
      HttpIncomingMessage.withMaxBodySize(Option.some(quota.settings.messageBytes as never))
    )

    const app = Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const connection = yield* quota.connect
      // one that says how long it is need not be read to be refused
      if (Number(request.headers["content-length"] ?? 0) > quota.settings.messageBytes) {
        return yield* refuse(413, "size")
      }
      const parser = serialization.unsafeMake()
      const messages = Messages.read(parser, new Uint8Array(yield* body))
      const [message] = messages ?? []
      if (message === undefined || messages!.length > 1 || message._tag !== "Request") {
        return yield* refuse(400, "protocol")
      }
      const id = next++
      const answers = yield* Mailbox.make<Uint8Array>(waiting)
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          entries.set(id, {
            connection,
            send: (response) => answers.offer(parser.encode(response) as Uint8Array),
            end: answers.end
          })
        ),
        () =>
          Effect.suspend(() => {
            entries.delete(id)
            return Effect.zipRight(answers.shutdown, disconnects.offer(id))
          })
      )
      yield* write(id, { ...message, headers: [...Object.entries(request.headers), ...message.headers] })
      yield* write(id, { _tag: "Eof" })
      return HttpServerResponse.stream(Mailbox.toStream(answers), {
        contentType,
        headers: { "cache-control": "no-store" }
      })
    }).pipe(
      Effect.catchTags({
        LimitExceeded: () => Effect.succeed(HttpServerResponse.empty({ status: 503 })),
        RequestError: () => refuse(413, "size")
      })
    )

    return {
      protocol,
      app,
      connectionOf: (clientId: number): Limits.Connection | undefined => entries.get(clientId)?.connection
    }
  })
