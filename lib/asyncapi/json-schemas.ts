/**
 * Schemas as the app has them, made into the JSON schema of a document. What a reference names becomes a component, so
 * that a schema may lead into itself; all else stays where it is used.
 */
import { OptionInvalid } from '../errors.ts'
import { isRecord } from '../known.ts'
import { Names } from './names.ts'
import {
  baseOf, idsOf, mapSchema, plainId, SchemaSource, split, type Base, type JsonSchema, type Place
} from './schema-source.ts'

export type { JsonSchema } from './schema-source.ts'
/** Makes JSON schema of another library's: e.g. `z.toJSONSchema`. */
export type ToJsonSchema = (schema: unknown) => unknown
/** Schemas of `addSchema()`, by `$id`. */
export type Shared = Readonly<Record<string, unknown>>

/** Whose schema it is. */
export interface Whose {
  /** For errors: `the event "said" of topic "news"`. */
  readonly where: string
  /** For components that are made of it. */
  readonly name: string
  /** Those that its references may name. */
  readonly shared: Shared
}

export class JsonSchemas {
  readonly components: Record<string, JsonSchema> = {}
  readonly #convert: ToJsonSchema | undefined
  readonly #names = new Names()
  readonly #scopes = new WeakMap<Shared, Scope>()
  /** The same schema is used once for each format. */
  readonly #sources = new WeakMap<object, SchemaSource>()
  /** Of `addSchema()`: scopes have what their parents have, each a copy of its own. */
  readonly #byContent = new Map<string, SchemaSource>()
  /** By what they are components of: the key of each. */
  readonly #keys = new WeakMap<object, string>()

  constructor (convert: ToJsonSchema | undefined) {
    this.#convert = convert
  }

  /** @throws OptionInvalid where it is no JSON schema, and nothing makes one of it */
  of (schema: unknown, whose: Whose): JsonSchema {
    if (schema === undefined) return {}
    const source = this.#sourceOf(schema, whose)
    return this.#placed(source, source.root, this.#scopeOf(whose.shared)) as JsonSchema
  }

  #sourceOf (schema: unknown, { name, where }: Whose): SchemaSource {
    const known = isKey(schema) ? this.#sources.get(schema) : undefined
    if (known) return known
    const source = new SchemaSource(name, this.#json(schema, where))
    if (isKey(schema)) this.#sources.set(schema, source)
    return source
  }

  /** Each is a component, also where nothing refers to it. @throws OptionInvalid */
  addShared (shared: Shared): void {
    const scope = this.#scopeOf(shared)
    for (const id of Object.keys(shared)) {
      const source = scope.source(id)
      if (source) this.#component(source, source.root, scope)
    }
  }

  /** Its shared schemas are read when they are named. */
  #scopeOf (shared: Shared): Scope {
    let scope = this.#scopes.get(shared)
    if (!scope) {
      const read = (id: string): SchemaSource => new SchemaSource(id, this.#json(shared[id], `the schema "${id}"`), id)
      this.#scopes.set(shared, scope = new Scope(shared, read, this.#byContent))
    }
    return scope
  }

  #json (schema: unknown, where: string): unknown {
    if (typeof schema === 'boolean') return schema ? {} : { not: {} }
    if (isJsonSchema(schema)) return schema
    if (!this.#convert) {
      const how = 'For zod: jsonSchema: z.toJSONSchema'
      throw new OptionInvalid('jsonSchema', `is needed: ${where} is not a JSON schema. ${how}`)
    }
    const made = this.#convert(schema)
    if (!isRecord(made)) throw new OptionInvalid('jsonSchema', `did not return a JSON schema for ${where}`)
    const { $schema: _dialect, ...rest } = made as JsonSchema
    return rest
  }

  /** A copy for the document. `$id` would give it another base, and definitions are components where they are used. */
  #placed (source: SchemaSource, { schema, base }: Place, scope: Scope): unknown {
    return mapSchema(schema, (key, one) => {
      // What zod makes says of itself how it validates.
      if (key === '~standard' || key === 'definitions' || key === '$defs') return undefined
      if (typeof one !== 'string') return one
      if (key === '$id' || key === '$anchor') return undefined
      return key === '$ref' ? this.#reference(source, one, base, scope) : one
    }, (one) => this.#placed(source, { schema: one, base: baseOf(one, base) }, scope))
  }

  /** What leads nowhere is left as it is. */
  #reference (source: SchemaSource, reference: string, base: Base, scope: Scope): string {
    const own = source.find(reference, base)
    if (own) return this.#component(source, own, scope)
    for (const id of idsOf(reference, base)) {
      const shared = scope.source(id)
      const [, fragment] = split(reference)
      const found = shared?.find(`#${encodeURIComponent(fragment)}`, shared.root.base)
      if (shared && found) return this.#component(shared, found, scope)
    }
    return reference
  }

  #component (source: SchemaSource, place: Place, scope: Scope): string {
    const { schema } = place
    const known = isKey(schema) ? this.#keys.get(schema) : undefined
    if (known !== undefined) return refTo(known)
    const key = this.#names.of(schema === source.root.schema ? source.name : `${source.name}_${nameOf(place)}`)
    // Before it is made: it may lead into itself.
    if (isKey(schema)) this.#keys.set(schema, key)
    this.components[key] = {}
    this.components[key] = this.#placed(source, place, scope) as JsonSchema
    return refTo(key)
  }
}

/** What references of one scope may name. */
class Scope {
  readonly #shared: Shared
  readonly #make: (id: string) => SchemaSource
  readonly #byContent: Map<string, SchemaSource>
  readonly #sources = new Map<string, SchemaSource>()
  readonly #contents = new Map<string, string>()
  readonly #ids: ReadonlyMap<string, string>

  constructor (shared: Shared, make: (id: string) => SchemaSource, byContent: Map<string, SchemaSource>) {
    this.#shared = shared
    this.#make = make
    this.#byContent = byContent
    this.#ids = new Map(Object.keys(shared).map((id) => [plainId(id), id]))
  }

  source (id: string): SchemaSource | undefined {
    const own = this.#ids.get(plainId(id))
    if (own === undefined) return undefined
    let content = this.#contents.get(own)
    if (content === undefined) this.#contents.set(own, content = this.#contentOf(own))
    let source = this.#byContent.get(content)
    if (!source) this.#byContent.set(content, source = this.#read(own))
    return source
  }

  #read (id: string): SchemaSource {
    let source = this.#sources.get(id)
    if (!source) this.#sources.set(id, source = this.#make(id))
    return source
  }

  /** It, and all that it leads to: the same text may name another schema in another scope. */
  #contentOf (id: string): string {
    const reached = new Set([id])
    for (const one of reached) {
      for (const named of this.#read(one).named) {
        const own = this.#ids.get(plainId(named))
        if (own !== undefined) reached.add(own)
      }
    }
    return JSON.stringify([...reached].map((one) => [one, this.#read(one).root.schema]))
  }
}

function refTo (key: string): string {
  return `#/components/schemas/${key}`
}

/** What it calls itself, or what it is called where it is. */
function nameOf ({ schema, key }: Place): string {
  const { $id } = (schema ?? {}) as { $id?: unknown }
  return typeof $id === 'string' ? $id : key ?? 'part'
}

/** It can be told from others that are the same. */
function isKey (schema: unknown): schema is object {
  return (typeof schema === 'object' && schema !== null) || typeof schema === 'function'
}

/** TypeBox's are; what other libraries make has methods, or says that it is theirs. */
function isJsonSchema (schema: unknown): schema is JsonSchema {
  if (typeof schema !== 'object' || schema === null || '~standard' in schema) return false
  const prototype: unknown = Object.getPrototypeOf(schema)
  return prototype === Object.prototype || prototype === null
}
