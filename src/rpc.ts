/**
 * A stream over the network: the same services, served by `layerServer`, and by `layer` in the program that uses them, which
 * does not change when its layer does. What it cannot do there is a transaction of the stream's database: `emit`,
 * `transaction`, `statement` and `exactlyOnce` fail at once and say so.
 *
 * ```ts
 * const Server = Rpc.layerServer({ port: 8080 }).pipe(Layer.provide([Events, Users]))
 *
 * const Events = Rpc.layer({ url: "ws://127.0.0.1:8080/rpc", credentials: { token: Redacted.make(token) } })
 * ```
 *
 * @since 0.1.0
 */
import type * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { InvalidOption, StoreError } from "./EventStreamError.js"
import type * as EventStream from "./layers/EventStream.js"
import type * as History from "./layers/History.js"
import * as NodeServer from "./layers/network/nodeServer.js"
import * as Client from "./layers/rpc/client/layer.js"
import type { Options as ClientOptions } from "./layers/rpc/client/options.js"
import * as Server from "./layers/rpc/server.js"
import type { Access } from "./services/Access.js"
import type { Archiver } from "./services/Archiver.js"
import type { History as HistoryTag } from "./services/History.js"

export {
  /**
   * @since 0.1.0
   * @category models
   */
  type Limits
} from "./layers/network/limits.js"

/**
 * Where and how a stream is served.
 *
 * @since 0.1.0
 * @category models
 */
export type ServerOptions = Server.Options

/**
 * The stream on a server of Node of its own: WebSockets and HTTP at one path, TLS by the options of `node:https`. Nothing
 * else is served there.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerServer = (
  options: ServerOptions & NodeServer.Options = {}
): Layer.Layer<never, StoreError | InvalidOption, EventStream.EventStream | Access> =>
  Server.layerNode(options).pipe(Layer.provide(NodeServer.layer(options)))

/**
 * The stream in a program's own router of `@effect/platform`, with the program's middlewares: WebSockets by GET and HTTP by
 * POST at one path. The platform's server reads WebSocket messages of up to 100 MiB before their size is seen;
 * `layerServer` does not.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRouter = (
  options: ServerOptions = {}
): Layer.Layer<never, never, EventStream.EventStream | Access | HttpLayerRouter.HttpRouter> =>
  Server.layerRouter(options)

/**
 * @since 0.1.0
 * @category models
 */
export type Options = ClientOptions

/**
 * The services of a stream that is remote.
 *
 * @since 0.1.0
 * @category models
 */
export type Services = Client.Services

/**
 * What a client with these options provides: with a `history` also `Archiver` and `History`, which archive the remote
 * stream into it.
 *
 * @since 0.1.0
 * @category models
 */
export type ServicesOf<O> =
  | Services
  | (O extends { readonly history: History.Options } ? Archiver | HistoryTag : never)

/**
 * What can go wrong when a client is opened. The server need not be there yet: that is said by the calls.
 *
 * @since 0.1.0
 * @category errors
 */
export type OpenError = Client.OpenError

/**
 * The services of a stream that is served elsewhere. A bare component is a consumer of the client's user.
 *
 * - Failures of the network are `StoreError`s with the reason `connection`; missing rights, or wrong credentials, have the
 *   reason `permission`, limits of the server `busy`; the cause is the typed error.
 * - A subscription goes on by itself when the connection was lost, behind what this process has in hand: what was not
 *   acknowledged is repeated only when this process ends, or another receiver had the consumer meanwhile.
 * - `add` is sent again when an answer was lost, and stored once, because an event without a dedupe key gets its uid as one.
 * - `Consumers` needs the right `administer`.
 *
 * WebSockets are made by the `WebSocketConstructor` of `@effect/platform/Socket` in the context, or by the package `ws`;
 * requests by its `Fetch`, or the global one.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <O extends Options>(options: O): Layer.Layer<ServicesOf<O>, OpenError> =>
  Layer.scopedContext(Client.make(options)) as Layer.Layer<ServicesOf<O>, OpenError>

/**
 * The same from Effect `Config`.
 *
 * ```ts
 * Rpc.layerConfig({ url: Config.string("EVENTS_URL"), credentials: { token: Config.redacted("EVENTS_TOKEN") } })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <O extends Options>(
  config: Config.Config.Wrap<O>
): Layer.Layer<ServicesOf<O>, OpenError | ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), (options) => layer<O>(options)))
