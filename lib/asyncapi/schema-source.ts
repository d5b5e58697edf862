/**
 * One schema as the app has it, and the places in it that references name: by a pointer, by an `$id` within it, or by
 * an anchor. Pure.
 */

export type JsonSchema = Record<string, unknown>

/** Their members are schemas, under names of the app's. */
const MAPS: ReadonlySet<string> = new Set([
  'properties', 'patternProperties', 'definitions', '$defs', 'dependentSchemas', 'dependencies'
])
/** What they hold is data, whatever it looks like. */
const DATA: ReadonlySet<string> = new Set(['const', 'enum', 'default', 'examples', 'example'])

/** A part of a schema. */
export interface Place {
  readonly schema: unknown
  /** What "#" means there: the nearest schema around it that has an `$id`, or the whole. */
  readonly base: Base
  /** What a pointer calls it. */
  readonly key?: string
}

export interface Base {
  readonly id: string
  readonly schema: unknown
}

export class SchemaSource {
  /** What its parts are called by in a document. */
  readonly name: string
  readonly root: Place
  /** The ids of schemas that its references name, those of others too. */
  readonly named = new Set<string>()
  readonly #ids = new Map<string, Place>()
  readonly #anchors = new Map<string, Place>()

  constructor (name: string, schema: unknown, id = '') {
    this.name = name
    this.root = { schema, base: baseOf(schema, { id, schema }) }
    if (id !== '') this.#ids.set(plainId(id), this.root)
    this.#index(schema, { id, schema })
  }

  #index (value: unknown, around: Base): void {
    const base = baseOf(value, around)
    if (base !== around) this.#ids.set(base.id, { schema: value, base })
    eachSchema(value, (schema) => this.#index(schema, base))
    if (!isNode(value)) return
    const { $anchor, $ref } = value
    if (typeof $anchor === 'string') this.#anchors.set(`${base.id}#${$anchor}`, { schema: value, base })
    if (typeof $ref === 'string') for (const id of idsOf($ref, base)) this.named.add(id)
  }

  /** What a reference within it names, if that is within it too. */
  find (reference: string, base: Base): Place | undefined {
    const [id, fragment] = split(reference)
    if (id === '') return this.#within({ schema: base.schema, base }, fragment)
    const found = idsOf(reference, base).map((one) => this.#ids.get(one)).find(Boolean)
    return found && this.#within(found, fragment)
  }

  /** `fragment`: of one of its parts that has an id. */
  #within (place: Place, fragment: string): Place | undefined {
    if (fragment === '') return place
    return fragment.startsWith('/') ? at(place, fragment) : this.#anchors.get(`${place.base.id}#${fragment}`)
  }
}

/** The ids that a reference may mean: as it is written, and as seen from where it stands. */
export function idsOf (reference: string, { id: base }: Base): string[] {
  const [id] = split(reference)
  if (id === '') return []
  return URL.canParse(id, base) ? [id, plainId(new URL(id, base).href)] : [id]
}

/** Before "#" and behind it. */
export function split (reference: string): [id: string, fragment: string] {
  const [id = '', ...fragment] = reference.split('#')
  return [id, decoded(fragment.join('#'))]
}

export function plainId (id: string): string {
  return id.replace(/#$/, '')
}

/** Calls back for each schema that is a member of this one. */
function eachSchema (value: unknown, found: (schema: unknown) => void): void {
  if (Array.isArray(value)) return value.forEach(found)
  if (!isNode(value)) return
  for (const [key, one] of Object.entries(value)) {
    if (MAPS.has(key) && isNode(one)) Object.values(one).forEach(found)
    else if (!DATA.has(key)) found(one)
  }
}

/** A copy in which each schema is as `change` makes it; `undefined` leaves a member out. */
export function mapSchema (
  value: unknown, change: (key: string, one: unknown) => unknown, schema: (one: unknown) => unknown
): unknown {
  if (Array.isArray(value)) return value.map(schema)
  if (!isNode(value)) return value
  return Object.fromEntries(Object.entries(value).flatMap(([key, one]) => {
    const changed = change(key, one)
    if (changed !== one) return changed === undefined ? [] : [[key, changed]]
    if (DATA.has(key)) return [[key, one]]
    const inMap = MAPS.has(key) && isNode(one)
    return [[key, inMap ? Object.fromEntries(Object.entries(one).map(([name, s]) => [name, schema(s)])) : schema(one)]]
  }))
}

export function baseOf (value: unknown, around: Base): Base {
  if (!isNode(value) || typeof value.$id !== 'string') return around
  if (value === around.schema) return { id: around.id || plainId(value.$id), schema: value }
  const [id] = idsOf(value.$id, around).slice(-1)
  return id === undefined ? around : { id, schema: value }
}

/** Follows a pointer; "#" may come to mean another thing on the way. */
function at (place: Place, pointer: string): Place | undefined {
  let { schema, base } = place
  let key = ''
  for (const part of pointer.slice(1).split('/')) {
    key = part.replace(/~1/g, '/').replace(/~0/g, '~')
    if (typeof schema !== 'object' || schema === null || !Object.hasOwn(schema, key)) return undefined
    schema = (schema as JsonSchema)[key]
    base = baseOf(schema, base)
  }
  return { schema, base, key }
}

function decoded (text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function isNode (value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
