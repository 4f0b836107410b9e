/** The client's side of a subscription, with a server that answers by hand. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { ConsumerFenced, StoreError } from "../../src/EventStreamError.js"
import type { Calls } from "../../src/layers/rpc/client/calls.js"
import * as Subscription from "../../src/layers/rpc/client/subscription.js"
import type { Frame } from "../../src/layers/rpc/wire.js"
import * as Shutdown from "../../src/streams/Shutdown.js"

const lost = new StoreError({ operation: "subscribe", reason: "connection", retryable: true })
const opened = (epoch: bigint, continued: boolean): Frame => ({
  _tag: "Opened",
  ident: "ada:C",
  epoch,
  cursor: 0n,
  continued
})

/** Opens with epoch 1, loses the connection at `cut`, and opens again with epoch 2, which is heard of at `heard`. */
const scenario = (continued: boolean) =>
  Effect.gen(function*() {
    const cut = yield* Deferred.make<void>()
    const heard = yield* Deferred.make<void>()
    const asked: Array<unknown> = []
    const steps: Array<bigint> = []
    let claims = 0n
    const client = {
      Subscribe: ({ resume }: { readonly resume?: unknown }) => {
        asked.push(resume)
        const epoch = ++claims
        return epoch === 1n
          ? Stream.concat(
            Stream.make(opened(1n, false), { _tag: "Page", rows: [], upTo: 5n, generation: 1 }),
            Stream.fromEffect(Effect.zipRight(Deferred.await(cut), Effect.fail(lost)))
          )
          : Stream.concat(
            Stream.fromEffect(Effect.as(Deferred.await(heard), opened(epoch, continued))),
            Stream.never
          )
      },
      Step: ({ epoch }: { readonly epoch: bigint }) =>
        Effect.suspend(() => {
          steps.push(epoch)
          return epoch === claims
            ? Effect.void
            : Effect.fail(new ConsumerFenced({ consumer: "ada:C", epoch: `${epoch}` }))
        }),
      Leave: () => Effect.void,
      ParkedKeys: () => Effect.succeed([]),
      Redriven: () => Effect.succeed({ rows: [], about: [], more: false })
    }
    const calls = {
      client,
      call: (_: string, effect: unknown) => effect,
      flow: (_: string, stream: unknown) => stream,
      settings: { reconnect: Schedule.spaced("10 millis") }
    } as never as Calls
    const subscription = yield* Subscription.make(calls, yield* Shutdown.make)("C")
    expect((yield* subscription.next).upTo).toBe(5n)
    yield* Deferred.succeed(cut, undefined)
    while (claims < 2n) yield* Effect.sleep(5)
    // the server knows of the new epoch, this side does not yet
    const step = yield* Effect.fork(Effect.either(subscription.step(5n)))
    yield* Effect.sleep(50)
    expect(steps[0]).toBe(1n)
    yield* Deferred.succeed(heard, undefined)
    const result = yield* Effect.timeout(Fiber.join(step), "5 seconds")
    return { asked, steps, result, subscription }
  })

const run = <A, E>(effect: Effect.Effect<A, E, import("effect/Scope").Scope>) =>
  Effect.runPromise(Effect.scoped(effect))

it("an acknowledgement that a reconnect has overtaken is sent again with the new epoch", () =>
  run(Effect.gen(function*() {
    const { asked, result, steps } = yield* scenario(true)
    expect(result._tag).toBe("Right")
    expect(steps[steps.length - 1]).toBe(2n)
    // it goes on behind what it has in hand
    expect(asked).toEqual([undefined, { epoch: 1n, after: 5n }])
  })))

it("where somebody else had the consumer meanwhile it is refused, and so is what comes next", () =>
  run(Effect.gen(function*() {
    const { result, subscription } = yield* scenario(false)
    expect(result).toMatchObject({ _tag: "Left", left: { _tag: "ConsumerFenced" } })
    expect(yield* Effect.flip(subscription.next)).toMatchObject({ _tag: "ConsumerFenced" })
    expect(yield* Effect.flip(subscription.lost)).toMatchObject({ _tag: "ConsumerFenced" })
  })))
