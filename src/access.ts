/**
 * Who may use a stream that is served over the network: ready-made implementations of the port `Access`.
 *
 * ```ts
 * import * as Access from "effect-eventstream/access"
 *
 * const Users = Access.accounts([
 *   { user: "billing", password: yield* Access.hashPassword(secret), rights: { emit: ["INVOICE_PAID"] } }
 * ])
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { createHash, createHmac, randomBytes, scrypt, timingSafeEqual } from "node:crypto"
import * as Consumer from "./Consumer.js"
import { InvalidOption, Unauthorized } from "./EventStreamError.js"
import { namePattern } from "./EventType.js"
import { Access, type Identity, type Rights } from "./services/Access.js"

export {
  /**
   * @since 0.1.0
   * @category tags
   */
  Access,
  /**
   * @since 0.1.0
   * @category models
   */
  type Credentials,
  /**
   * @since 0.1.0
   * @category models
   */
  type Identity,
  /**
   * @since 0.1.0
   * @category models
   */
  type Rights
} from "./services/Access.js"

/**
 * A user and what it may show instead of its name. One user may have several accounts, as while a password changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Account {
  /** 1 to 47 characters of `A-Z a-z 0-9 _ . @ -`. */
  readonly user: string
  /** A hash by `hashPassword`: shown as Basic, and in clear text by FutoIn clients. Those cannot have a colon in it. */
  readonly password?: string | undefined
  /** A hash by `hashToken`: shown as Bearer. */
  readonly token?: string | undefined
  /** The key of FutoIn's message codes (`-hmac`) itself: it has to be known to both. At least 16 bytes. */
  readonly macKey?: Redacted.Redacted<Uint8Array> | undefined
  /** Default: everything but `administer`. */
  readonly rights?: Rights | undefined
}

/** What a hash costs: about 16 MiB and 50 ms (RFC 7914). */
const cost = { N: 16_384, r: 8, p: 1 }
const saltBytes = 16
const hashBytes = 32

const derive = (password: string, salt: Uint8Array, options: typeof cost): Effect.Effect<Buffer> =>
  Effect.async((resume) => {
    scrypt(
      password.normalize("NFKC"),
      salt,
      hashBytes,
      { ...options, maxmem: 256 * 1024 * 1024 },
      (error, key) => resume(error === null ? Effect.succeed(key) : Effect.die(error))
    )
  })

/**
 * A hash of a password, for `Account.password`: scrypt with a salt of its own.
 *
 * @since 0.1.0
 * @category hashing
 */
export const hashPassword = (password: string): Effect.Effect<string> =>
  Effect.suspend(() => {
    const salt = randomBytes(saltBytes)
    return Effect.map(
      derive(password, salt, cost),
      (hash) => `scrypt:${cost.N}:${cost.r}:${cost.p}:${salt.toString("base64url")}:${hash.toString("base64url")}`
    )
  })

/**
 * A new token of 256 random bits, and its hash for `Account.token`. Show the token once, keep the hash.
 *
 * @since 0.1.0
 * @category hashing
 */
export const makeToken: Effect.Effect<{ readonly token: string; readonly hash: string }> = Effect.sync(() => {
  const token = randomBytes(32).toString("base64url")
  return { token, hash: hashToken(token) }
})

/**
 * The hash of a token that was made elsewhere, for `Account.token`. It is only as strong as the token is long: at least
 * 128 random bits.
 *
 * @since 0.1.0
 * @category hashing
 */
export const hashToken = (token: string): string => `sha256:${sha256(token).toString("base64url")}`

const sha256 = (text: string) => createHash("sha256").update(text).digest()

interface Hash {
  readonly salt: Buffer
  readonly hash: Buffer
  readonly cost: typeof cost
}

const parsePassword = (text: string): Hash | undefined => {
  const [, N, r, p, salt, hash] = /^scrypt:(\d{1,7}):(\d{1,2}):(\d{1,2}):([\w-]{22,}):([\w-]{43})$/.exec(text) ?? []
  const found = { N: Number(N), r: Number(r), p: Number(p) }
  return hash === undefined || found.N < 1024 || (found.N & (found.N - 1)) !== 0 || found.N * found.r > 1_048_576 ||
      found.r < 1 || found.p < 1 || found.p > 16
    ? undefined
    : { salt: Buffer.from(salt!, "base64url"), hash: Buffer.from(hash, "base64url"), cost: found }
}

const parseToken = (text: string): Buffer | undefined => {
  const [, hash] = /^sha256:([\w-]{43})$/.exec(text) ?? []
  return hash === undefined ? undefined : Buffer.from(hash, "base64url")
}

/** So many password hashes are computed at a time, whoever asks; each costs memory and a thread. */
const hashing = 2
/** So many passwords that were right are remembered, as a code by a key of this process. */
const remembered = 10_000

interface Parsed {
  readonly identity: Identity
  readonly password: Hash | undefined
  readonly token: Buffer | undefined
  readonly macKey: Uint8Array | undefined
}

const refuse = (option: string, value: string, expected: string) =>
  Either.left(new InvalidOption({ option: `accounts.${option}`, value, expected }))

const parse = ({ macKey, password, rights, token, user }: Account): Either.Either<Parsed, InvalidOption> => {
  if (Either.isLeft(Consumer.ident({ user, component: "X" }))) {
    return refuse("user", JSON.stringify(user), "1 to 47 characters of A-Z a-z 0-9 _ . @ -")
  }
  const parsed = {
    password: password === undefined ? undefined : parsePassword(password),
    token: token === undefined ? undefined : parseToken(token),
    macKey: macKey === undefined ? undefined : Redacted.value(macKey)
  }
  // what was given is not shown: it may be the secret itself
  if (password !== undefined && parsed.password === undefined) {
    return refuse("password", `what ${user} has`, "a hash by hashPassword (evt hash)")
  }
  if (token !== undefined && parsed.token === undefined) {
    return refuse("token", `what ${user} has`, "a hash by hashToken (evt hash --token)")
  }
  if (parsed.macKey !== undefined && parsed.macKey.length < 16) {
    return refuse("macKey", `${parsed.macKey.length} bytes`, "at least 16 bytes")
  }
  if (Object.values(parsed).every((secret) => secret === undefined)) {
    return refuse("password", `nothing for ${user}`, "a password, a token or a macKey")
  }
  const wrong = Array.isArray(rights?.emit) ? rights.emit.find((type) => !namePattern.test(type)) : undefined
  return wrong === undefined
    ? Either.right({ identity: { user, rights: rights ?? {} }, ...parsed })
    : refuse("rights.emit", JSON.stringify(wrong), `types of the form ${namePattern.source}`)
}

/**
 * Accounts by name. Who is wrong is not told what is wrong, nor by the time that it takes: passwords and tokens are compared
 * in constant time, and a password is hashed for an unknown user, too. A password that was right is remembered, because
 * some clients show it with every message.
 *
 * @since 0.1.0
 * @category layers
 */
export const accounts = (list: ReadonlyArray<Account>): Layer.Layer<Access, InvalidOption> =>
  Layer.effect(
    Access,
    Effect.gen(function*() {
      const parsed = yield* Either.all(list.map(parse))
      const byUser = new Map<string, Array<Parsed>>()
      for (const account of parsed) {
        const { user } = account.identity
        byUser.set(user, [...byUser.get(user) ?? [], account])
      }
      const hashes = yield* Effect.makeSemaphore(hashing)
      const seal = randomBytes(32)
      const right = new Map<string, Identity>()
      const nobody: Hash = { salt: randomBytes(saltBytes), hash: randomBytes(hashBytes), cost }
      const no = (reason: string) => Effect.fail(new Unauthorized({ reason }))

      const basic = (user: string, password: string) =>
        Effect.gen(function*() {
          const code = createHmac("sha256", seal).update(`${user.length}:${user}${password}`).digest("base64")
          const known = right.get(code)
          if (known !== undefined) return known
          const own = (byUser.get(user) ?? []).filter((account) => account.password !== undefined)
          let found: Identity | undefined
          for (
            const { identity, password: hash } of own.length === 0
              ? [{ identity: undefined, password: nobody }]
              : own
          ) {
            const derived = yield* hashes.withPermits(1)(derive(password, hash!.salt, hash!.cost))
            if (timingSafeEqual(derived, hash!.hash)) found = identity
          }
          if (found === undefined) return yield* no("the user or the password is wrong")
          if (right.size >= remembered) right.delete(right.keys().next().value!)
          right.set(code, found)
          return found
        })

      return {
        authenticate: (credentials) => {
          switch (credentials._tag) {
            case "Basic":
              return basic(credentials.user, Redacted.value(credentials.password))
            case "Bearer": {
              const shown = sha256(Redacted.value(credentials.token))
              let found: Identity | undefined
              for (const { identity, token } of parsed) {
                if (token !== undefined && timingSafeEqual(shown, token)) found ??= identity
              }
              return found === undefined ? no("the token is wrong") : Effect.succeed(found)
            }
            case "Mac": {
              const found = (byUser.get(credentials.user) ?? []).find(({ macKey }) =>
                macKey !== undefined && credentials.verify(macKey)
              )
              return found === undefined ? no("the user or the signature is wrong") : Effect.succeed(found.identity)
            }
          }
        }
      }
    })
  )

/**
 * Believes whatever name a caller gives: for tests, and where another part has checked it already. Bearer tokens have no
 * name, and are refused; so are message codes, for which a key would have to be known.
 *
 * @since 0.1.0
 * @category layers
 */
export const trusting = (rights: Rights = {}): Layer.Layer<Access> =>
  Layer.succeed(Access, {
    authenticate: (credentials) =>
      credentials._tag === "Basic" && Either.isRight(Consumer.ident({ user: credentials.user, component: "X" }))
        ? Effect.succeed({ user: credentials.user, rights })
        : Effect.fail(new Unauthorized({ reason: "a user name is needed" }))
  })
