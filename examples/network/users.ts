import { Effect, Layer } from "effect"
import * as Access from "effect-eventstream/access"

// a real program has hashes here, made by `evt hash`, and no password anywhere
export const Users = Layer.unwrapEffect(Effect.gen(function*() {
  return Access.accounts([
    {
      user: "shop",
      password: yield* Access.hashPassword("shop-secret"),
      rights: { emit: ["USR_ADD"], poll: false, push: "live" }
    },
    { user: "mail", password: yield* Access.hashPassword("mail-secret"), rights: { emit: false } }
  ])
}))
