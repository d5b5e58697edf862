/** Only OpenAPI 3.2 and newer can describe one event of a stream as it is sent. */

type Node = Record<string, unknown>

/** On the media type of a stream whose `schema` is that of one event, told apart by its name. */
export const BY_EVENT = 'x-fastify-realtime'

/**
 * For @fastify/swagger: `transformObject: itemSchemas`. In a document of OpenAPI 3.2 or newer, each stream of topics
 * with schemas gets an `itemSchema`, as its section on Server-Sent Events describes: `data` is text whose
 * `contentSchema` is that of the event. `schema` is one parsed event in older versions; here it is an array, the whole
 * stream. Any other document is returned as it is.
 */
export function itemSchemas<OpenApi extends object, Swagger extends object = OpenApi> (
  documents: { openapiObject: OpenApi } | { swaggerObject: Swagger }
): OpenApi | Swagger {
  if (!('openapiObject' in documents)) return documents.swaggerObject
  const { openapiObject: document } = documents
  const { openapi, paths } = document as { openapi?: unknown, paths?: unknown }
  if (!hasItemSchema(openapi)) return document
  return { ...document, paths: mapped(paths, (path) => mapped(path, operation)) }
}

function hasItemSchema (version: unknown): boolean {
  const [major = 0, minor = 0] = String(version).split('.').map(Number)
  return major > 3 || (major === 3 && minor >= 2)
}

function operation (value: unknown): unknown {
  if (!isNode(value) || !isNode(value.responses)) return value
  return { ...value, responses: mapped(value.responses, response) }
}

function response (value: unknown): unknown {
  if (!isNode(value) || !isNode(value.content)) return value
  return { ...value, content: mapped(value.content, media) }
}

function media (value: unknown): unknown {
  if (!isNode(value) || value[BY_EVENT] !== true || !isNode(value.schema)) return value
  const { [BY_EVENT]: _ours, schema, ...rest } = value
  const { oneOf } = schema as { oneOf?: unknown }
  if (!Array.isArray(oneOf)) return value
  const itemSchema = { oneOf: oneOf.map(asSent) }
  return { ...rest, schema: { type: 'array', items: itemSchema }, itemSchema }
}

/** An event as it is sent: its data is a text. */
function asSent (event: Node): Node {
  const { data, event: name, ...properties } = event.properties as Node
  return { ...event, properties: { ...properties, event: named(name as Node), data: textOf(data) } }
}

function textOf (data: unknown): Node {
  return { type: 'string', contentMediaType: 'application/json', contentSchema: data }
}

function named ({ enum: names, ...name }: Node): Node {
  return Array.isArray(names) ? { ...name, const: names[0] } : name
}

function mapped (value: unknown, change: (one: unknown) => unknown): unknown {
  if (!isNode(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, change(one)]))
}

function isNode (value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
