/**
 * Declarations of event types: a name, a schema, and what has to be known to read older versions.
 *
 * ```ts
 * const UserAdded = EventType.make("USR_ADD", Schema.Struct({ id: Schema.Int, email: Schema.String }))
 * ```
 *
 * @since 0.1.0
 */
import type * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"

/**
 * The form of a type name: a superset of FTN18's `^[A-Z_]{1,16}$` (2.1.2), which the FTN18 gateway enforces for its own
 * clients.
 *
 * @since 0.1.0
 * @category constants
 */
export const namePattern = /^[A-Z_][A-Z0-9_]{0,63}$/

/**
 * A declared event type. `A` is what handlers get and `emit` takes, `I` its JSON form in the database.
 *
 * @since 0.1.0
 * @category models
 */
export interface EventType<out Name extends string, in out A, in out I = A> {
  readonly name: Name
  /** Version of the payload's form, from 1. Written with each event; events without one count as version 1. */
  readonly version: number
  readonly schema: Schema.Schema<A, I>
  /** From version n to n + 1 of the JSON form, for each older version that may still be in the log or history. */
  readonly upcast: { readonly [version: number]: (data: unknown) => unknown }
  /** What the event is about: events with the same key keep their order also where consumers work in parallel. */
  readonly key: ((data: A) => string) | undefined
  /** @internal */
  readonly encode: (data: A) => Either.Either<I, ParseResult.ParseError>
  /** @internal */
  readonly decode: (data: unknown) => Either.Either<A, ParseResult.ParseError>
}

/**
 * @since 0.1.0
 * @category models
 */
export declare namespace EventType {
  /** Any declaration, whatever its payload. */
  type Any = EventType<string, any, any>
  /** The payload that handlers get. */
  type Data<T extends Any> = T extends EventType<string, infer A, infer _I> ? A : never
  /** The type's name. */
  type Name<T extends Any> = T["name"]
}

/**
 * Declares an event type. Throws on a name or version of the wrong form: a declaration is program text, not input.
 *
 * @param name `^[A-Z_][A-Z0-9_]{0,63}$`
 * @param schema of the payload; its encoded form must be JSON
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const Name extends string, A, I>(
  name: Name,
  schema: Schema.Schema<A, I>,
  options?: {
    /** Version of the payload's form: raise it when the encoded form changes. Default 1. */
    readonly version?: number | undefined
    /** `{ 1: f }` turns the JSON form of version 1 into that of version 2, and so on up to `version`. */
    readonly upcast?: { readonly [version: number]: (data: any) => unknown } | undefined
    /** What the event is about, 1 to 255 characters: orders parallel consumption. */
    readonly key?: ((data: NoInfer<A>) => string) | undefined
  }
): EventType<Name, A, I> => {
  if (!namePattern.test(name)) {
    throw new TypeError(`EventType name must match ${namePattern.source}, not ${JSON.stringify(name)}`)
  }
  const version = options?.version ?? 1
  const upcast = options?.upcast ?? {}
  if (!Number.isInteger(version) || version < 1) {
    throw new TypeError(`EventType ${name}: version must be an integer from 1, not ${version}`)
  }
  for (let v = 1; v < version; v++) {
    if (upcast[v] === undefined) {
      throw new TypeError(`EventType ${name}: version ${version} needs upcast[${v}], to read events of version ${v}`)
    }
  }
  return {
    name,
    version,
    schema,
    upcast,
    key: options?.key,
    encode: Schema.encodeEither(schema),
    decode: Schema.decodeUnknownEither(schema)
  }
}

/**
 * Event types by name: what a reader knows.
 *
 * @since 0.1.0
 * @category models
 */
export interface Catalog<T extends EventType.Any> {
  readonly types: ReadonlyMap<string, T>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const catalog = <const T extends ReadonlyArray<EventType.Any>>(...types: T): Catalog<T[number]> => {
  const byName = new Map<string, T[number]>()
  for (const type of types) {
    if (byName.has(type.name)) throw new TypeError(`Catalog: two declarations of ${type.name}`)
    byName.set(type.name, type)
  }
  return { types: byName }
}
