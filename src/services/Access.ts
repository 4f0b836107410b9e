/**
 * Who may do what with a stream that is served over the network (DESIGN 6): the port between the servers and whatever an
 * application knows of its users. `accounts` of `effect-eventstream/access` is a ready-made one.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { StoreError, Unauthorized } from "../EventStreamError.js"

/**
 * What a caller shows. `Mac`: a message code of FutoIn (FTN8, `-hmac`), for which the server has to know the key.
 *
 * @since 0.1.0
 * @category models
 */
export type Credentials =
  | { readonly _tag: "Basic"; readonly user: string; readonly password: Redacted.Redacted }
  | { readonly _tag: "Bearer"; readonly token: Redacted.Redacted }
  | { readonly _tag: "Mac"; readonly user: string; readonly verify: (key: Uint8Array) => boolean }

/**
 * What a user may do. Everything that is left out is allowed, but `administer`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rights {
  /** Add events: of every type, of the listed ones, or none. */
  readonly emit?: boolean | ReadonlyArray<string> | undefined
  /** Poll, and register consumers; `"live"`: only without registration (`LIVE`). */
  readonly poll?: boolean | "live" | undefined
  /** Subscribe, and register consumers; `"live"`: only without registration (`LIVE`). */
  readonly push?: boolean | "live" | undefined
  /** See and change the consumers of all users, their dead letters, and erase events. Default: no. */
  readonly administer?: boolean | undefined
}

/**
 * A caller that is known. `user` is the user of its consumers, `user:component`: 1 to 47 characters of `A-Z a-z 0-9 _ . @ -`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Identity {
  readonly user: string
  readonly rights: Rights
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Who that is. `StoreError`: it cannot be found out now. */
  readonly authenticate: (credentials: Credentials) => Effect.Effect<Identity, Unauthorized | StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Access extends Context.Tag("effect-eventstream/Access")<Access, Service>() {}
