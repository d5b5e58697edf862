/**
 * An AsyncAPI 3 document of what an app has declared. Topics are its channels; each stream and each channel of the app
 * is an operation on those that it hears, once for each format.
 */
import type { RealtimeDescription, RouteDescription, TopicDescription } from '../types/description.ts'
import type { JsonSchema, JsonSchemas, Shared } from './json-schemas.ts'
import { keyOf, Names } from './names.ts'

export interface DocumentParts {
  info: { title: string, version: string, [field: string]: unknown }
  servers: Record<string, unknown> | undefined
  description: RealtimeDescription
  schemas: JsonSchemas
  /** Those of `app.addSchema()`: components, whether or not they are used. */
  shared: Shared
}

type Format = 'stream' | 'flat' | 'envelope'
type Node = Record<string, unknown>

const JSON_TYPE = 'application/json'
/** Of a topic without `events`: any name, any data. */
const ANY = 'event'
const SAID: Record<Format, string> = {
  stream: 'As a server-sent event: its name, and its data as JSON.',
  flat: 'As plain JSON: the event\'s data, with its name as "type".',
  envelope: 'In a frame of fastify-realtime.v1 (PROTOCOL.md, section 4).'
}

export function documentOf (parts: DocumentParts): Node {
  const { info, servers, description: { topics, routes }, schemas, shared } = parts
  schemas.addShared(shared)
  const names = new Names()
  const channels = new Channels(schemas, topics, names)
  const operations = routes.flatMap((route) => channels.operationsOf(route))
  return {
    asyncapi: '3.0.0',
    info,
    defaultContentType: JSON_TYPE,
    ...servers && { servers },
    channels: channels.all,
    operations: Object.fromEntries(operations),
    components: { schemas: schemas.components }
  }
}

class Channels {
  readonly all: Record<string, Node> = {}
  readonly #schemas: JsonSchemas
  readonly #names: Names
  readonly #topics = new Map<string, { key: string, topic: TopicDescription }>()
  /** Keys of a channel's messages, by the channel, the format and the name. */
  readonly #keys = new Map<string, string>()

  constructor (schemas: JsonSchemas, topics: readonly TopicDescription[], names: Names) {
    this.#schemas = schemas
    this.#names = names
    for (const topic of topics) {
      const key = names.of(topic.pattern)
      this.#name(key, FORMATS.flatMap((format) => eventsOf(topic).map(([name]) => [format, name] as const)))
      this.#topics.set(topic.pattern, { key, topic })
      this.all[key] = this.#channelOf(key, topic)
    }
  }

  operationsOf (route: RouteDescription): Array<[string, Node]> {
    const patterns = new Set([...route.topics, ...route.subscribe])
    const heard = [...patterns].flatMap((pattern) => this.#topics.get(pattern) ?? [])
    const formats: Format[] = route.kind === 'stream' ? ['stream'] : ['flat', 'envelope']
    return [
      ...heard.flatMap(({ key, topic }) => formats.map((format) => this.#told(route, key, topic, format))),
      ...this.#heard(route)
    ]
  }

  /** Names that are one as keys are told apart. */
  #name (channel: string, messages: ReadonlyArray<readonly [Format | '', string]>): void {
    const keys = new Names()
    for (const [format, name] of messages) {
      this.#keys.set(`${channel} ${format} ${name}`, keys.of(messageKey(name, format)))
    }
  }

  #keyOf (channel: string, format: Format | '', name: string): string {
    return this.#keys.get(`${channel} ${format} ${name}`) as string
  }

  #channelOf (key: string, topic: TopicDescription): Node {
    const { pattern, params, history, keyed, presence } = topic
    return {
      address: addressOf(pattern),
      title: pattern,
      ...params.length > 0 && { parameters: Object.fromEntries(params.map((name) => [parameterOf(name), {}])) },
      messages: Object.fromEntries(FORMATS.flatMap((format) => this.#messagesOf(key, topic, format))),
      'x-fastify-realtime': { history, keyed, presence }
    }
  }

  #messagesOf (key: string, topic: TopicDescription, format: Format): Array<[string, Node]> {
    return eventsOf(topic).map(([name, schema]) => {
      const { pattern, shared } = topic
      const where = `the event "${name}" of topic "${pattern}"`
      const data = this.#schemas.of(schema, { where, name: `${pattern}_${name}`, shared })
      return [this.#keyOf(key, format, name), {
        name, contentType: JSON_TYPE, summary: SAID[format], payload: payloadOf(format, name, data, topic)
      }]
    })
  }

  /** The app sends. */
  #told (route: RouteDescription, key: string, topic: TopicDescription, format: Format): [string, Node] {
    const [url = ''] = route.urls
    return [this.#names.of(`${route.kind}_${keyOf(url)}_${key}_${format}`), {
      action: 'send',
      channel: { $ref: `#/channels/${key}` },
      title: `${route.methods.join(', ')} ${route.urls.join(', ')}`,
      summary: SAID[format],
      messages: eventsOf(topic).map(([name]) =>
        ({ $ref: `#/channels/${key}/messages/${this.#keyOf(key, format, name)}` })),
      ...this.#bindings(route),
      'x-fastify-realtime': { kind: route.kind, urls: route.urls, format }
    }]
  }

  /** The app receives: what clients of a channel say has a channel of its own, whose address is the URL. */
  #heard (route: RouteDescription): Array<[string, Node]> {
    const messages = Object.entries(route.messages)
    const [url = ''] = route.urls
    if (messages.length === 0) return []
    const key = this.#names.of(`messages_${keyOf(url)}`)
    this.#name(key, messages.map(([name]) => ['', name] as const))
    this.all[key] = {
      address: addressOf(url),
      title: url,
      ...paramsOf(url).length > 0 && { parameters: Object.fromEntries(paramsOf(url).map((name) => [name, {}])) },
      messages: Object.fromEntries(messages.map(([name, { schema }]) => [this.#keyOf(key, '', name), {
        name,
        contentType: JSON_TYPE,
        payload: said(name, this.#saidIn(route, name, schema))
      }])),
      bindings: { ws: { method: 'GET', ...this.#wsSchemas(route), bindingVersion: '0.1.0' } }
    }
    return messages.map(([name, { relayed }]) => [this.#names.of(`${key}_${name}`), {
      action: 'receive',
      channel: { $ref: `#/channels/${key}` },
      summary: relayed ? 'It is relayed to the others.' : 'It is answered by "reply", or by "error".',
      messages: [{ $ref: `#/channels/${key}/messages/${this.#keyOf(key, '', name)}` }]
    }])
  }

  #saidIn ({ urls: [url = ''], shared }: RouteDescription, name: string, schema: unknown): JsonSchema {
    const where = `the message "${name}" of channel "${url}"`
    return this.#schemas.of(schema, { where, name: `${url}_${name}`, shared })
  }

  #bindings (route: RouteDescription): Node {
    if (route.kind !== 'stream') return {}
    const query = this.#part(route, 'querystring')
    return { bindings: { http: { method: route.methods[0] ?? 'GET', ...query && { query }, bindingVersion: '0.3.0' } } }
  }

  #wsSchemas (route: RouteDescription): Node {
    const query = this.#part(route, 'querystring')
    const headers = this.#part(route, 'headers')
    return { ...query && { query }, ...headers && { headers } }
  }

  /** The bindings want an object with properties. */
  #part (route: RouteDescription, part: string): JsonSchema | undefined {
    const schema = route.schema[part]
    if (schema === undefined) return undefined
    const { kind, urls: [url = ''], shared } = route
    const made = this.#schemas.of(schema, { where: `the ${part} of ${kind} "${url}"`, name: `${url}_${part}`, shared })
    return { type: 'object', properties: {}, ...made }
  }
}

const FORMATS: readonly Format[] = ['stream', 'flat', 'envelope']

function eventsOf ({ events }: TopicDescription): Array<[string, unknown]> {
  return events ? Object.entries(events) : [[ANY, undefined]]
}

function messageKey (name: string, format: Format | ''): string {
  return format === 'stream' || format === '' ? keyOf(name) : `${keyOf(name)}.${format}`
}

function payloadOf (format: Format, name: string, data: JsonSchema, topic: TopicDescription): JsonSchema {
  const named = topic.events ? { const: name } : { type: 'string' }
  if (format === 'stream') return data
  if (format === 'flat') return { allOf: [{ type: 'object', properties: { type: named }, required: ['type'] }, data] }
  const id = { type: 'string' }
  return {
    type: 'object',
    properties: {
      topic: { type: 'string' }, event: named, ...topic.history && { id, prev: id }, ...topic.keyed && { key: id }, data
    },
    required: ['topic', 'event', 'data']
  }
}

/** What a client says in either format. */
function said (name: string, data: JsonSchema): JsonSchema {
  return {
    oneOf: [
      { allOf: [{ type: 'object', properties: { type: { const: name } }, required: ['type'] }, data] },
      {
        type: 'object',
        properties: { event: { const: name }, data, ref: {}, topic: { type: 'string' }, key: { type: 'string' } },
        required: ['event']
      }
    ]
  }
}

/** `rooms/:id/*` is `rooms/{id}/{rest}`. */
function addressOf (pattern: string): string {
  return pattern.split('/').map((part) => isParam(part) ? `{${parameterOf(part.replace(/^:/, ''))}}` : part).join('/')
}

function paramsOf (url: string): string[] {
  return url.split('/').filter(isParam).map((part) => parameterOf(part.replace(/^:/, '')))
}

function isParam (part: string): boolean { return part.startsWith(':') || part === '*' }

function parameterOf (name: string): string { return name === '*' ? 'rest' : keyOf(name) }
