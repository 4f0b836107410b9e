/**
 * A stream for existing clients of FutoIn: `futoin.evt.gen`, `.poll` and `.push` 1.0 and 1.1, and `futoin.ping`, over HTTP
 * and WebSocket on one endpoint, in JSON, MessagePack and CBOR (FTN3, FTN5, FTN18). They connect as they are.
 *
 * ```ts
 * import * as Ftn18 from "effect-eventstream/ftn18"
 *
 * const Gateway = Ftn18.layer({ port: 8080, tls: { key, cert } }).pipe(Layer.provide([Events, Users]))
 * ```
 *
 * Their users and passwords are those of `Access` (`effect-eventstream/access`); FutoIn has no anonymous users of events. A
 * consumer is `user:component` as everywhere else, so that it may change between this and the other ways to a stream.
 *
 * - Events whose type is not `^[A-Z_]{1,16}$` do not exist in FTN18: clients do not see them, and the log says once which.
 * - Data longer than about 65 400 bytes fits into messages of version 1.1 only, 8 MiB long, and not into `addEvent`. It is never
 *   left out for a registered consumer of 1.0: the poll fails, or the connection of the receiver is closed, and the log says
 *   at which event. `EventStream.layer` takes no longer data than 65 000 bytes unless `maxDataBytes` says so.
 * - `addEvent` is at least once: a client sends it again when its connection is lost before the answer.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { InvalidOption, StoreError } from "./EventStreamError.js"
import type { EventStream } from "./layers/EventStream.js"
import * as Gateway from "./layers/ftn18/gateway.js"
import * as NodeServer from "./layers/network/nodeServer.js"
import type { Access } from "./services/Access.js"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  GatewayOptions,
  /**
   * @since 0.1.0
   * @category models
   */
  Limits
} from "./layers/ftn18/gateway.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends Gateway.GatewayOptions, NodeServer.Options {}

/**
 * Serves the stream of the context to clients of FutoIn, on a server of its own. `InvalidOption`: one of the options;
 * `StoreError`: the port cannot be had.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<never, InvalidOption | StoreError, EventStream | Access> =>
  Layer.scopedDiscard(Effect.flatMap(NodeServer.make(options), (server) => Gateway.serve(server, options)))

/**
 * The same on a server that serves other things, too.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerServer = (
  options: Gateway.GatewayOptions = {}
): Layer.Layer<never, InvalidOption, EventStream | Access | NodeServer.NodeServer> =>
  Layer.scopedDiscard(Effect.flatMap(NodeServer.NodeServer, (server) => Gateway.serve(server, options)))
