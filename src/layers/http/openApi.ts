/** The OpenAPI document of the routes, from their declaration. */
import * as OpenApi from "@effect/platform/OpenApi"
import { api, problems } from "./api.js"
import * as CloudEvent from "./cloudEvent.js"

const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` })

/** What any JSON is has no name in a document: the name would be there many times. */
const withoutNames = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(withoutNames)
  if (typeof value !== "object" || value === null) return value
  const { $id, ...rest } = value as Record<string, unknown>
  if ($id !== undefined) delete rest.title
  return Object.fromEntries(Object.entries(rest).map(([name, inner]) => [name, withoutNames(inner)]))
}

const make = () => {
  const document: any = withoutNames(OpenApi.fromApi(api))
  for (const path of Object.values<any>(document.paths)) {
    for (const operation of Object.values<any>(path)) {
      for (const [status, description] of Object.entries(problems)) {
        if (operation.responses[status] === undefined) continue
        operation.responses[status] = { description, content: { "application/json": { schema: ref("Problem") } } }
      }
    }
  }
  // nothing is decoded by the library that would answer with it
  delete document.components.schemas.HttpApiDecodeError
  delete document.components.schemas.Issue
  delete document.components.schemas.PropertyKey
  const polled = document.paths["/events/poll"].get.responses["200"]
  polled.content[CloudEvent.batchContentType] = { schema: { type: "array", items: ref("CloudEvent") } }
  polled.headers = {
    "evt-up-to": { description: "As `upTo`; left out where that is null.", schema: ref("EventId") },
    "evt-generation": { description: "As `generation`.", schema: { type: "integer" } }
  }
  return document as OpenApi.OpenAPISpec
}

let made: OpenApi.OpenAPISpec | undefined

/** As it is asked for under a path: the routes are beside it. */
export const document = (path: string): OpenApi.OpenAPISpec => {
  const before = path.split("?", 1)[0]!.replace(/\/openapi\.json$/, "")
  return { ...(made ??= make()), servers: [{ url: before === "" ? "/" : before }] }
}
