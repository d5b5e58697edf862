/** Schemas as the app has them, made into the JSON schema of a document. */
import { OptionInvalid } from '../errors.ts'
import { isRecord } from '../known.ts'

export type JsonSchema = Record<string, unknown>
/** Makes JSON schema of another library's: e.g. `z.toJSONSchema`. */
export type ToJsonSchema = (schema: unknown) => unknown

const REFERENCE = /^([^#]+)(?:#(.*))?$/

export class JsonSchemas {
  readonly #convert: ToJsonSchema | undefined
  /** Those of `app.addSchema()`, by `$id`. */
  readonly #shared: ReadonlySet<string>

  constructor (convert: ToJsonSchema | undefined, shared: Iterable<string>) {
    this.#convert = convert
    this.#shared = new Set(shared)
  }

  /** @throws OptionInvalid where it is no JSON schema, and nothing makes one of it */
  of (schema: unknown, where: string): JsonSchema {
    if (schema === undefined) return {}
    if (isJsonSchema(schema)) return this.#placed(schema) as JsonSchema
    if (!this.#convert) {
      const how = 'For zod: jsonSchema: z.toJSONSchema'
      throw new OptionInvalid('jsonSchema', `is needed: ${where} is no JSON schema. ${how}`)
    }
    const made = this.#convert(schema)
    if (!isRecord(made)) throw new OptionInvalid('jsonSchema', `has made no JSON schema of ${where}`)
    const { $schema: _dialect, ...rest } = this.#placed(made) as JsonSchema
    return rest
  }

  /** What names a schema of the app's names its place in the document. `$id` would give it another base. */
  #placed (value: unknown): unknown {
    if (Array.isArray(value)) return value.map((one) => this.#placed(one))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).flatMap(([key, one]) => {
      // What zod makes says of itself how it validates.
      if (key === '~standard' || (key === '$id' && typeof one === 'string')) return []
      if (key === '$ref' && typeof one === 'string') return [[key, this.#reference(one)]]
      return [[key, this.#placed(one)]]
    }))
  }

  #reference (reference: string): string {
    const [, id, rest = ''] = REFERENCE.exec(reference) ?? []
    return id !== undefined && this.#shared.has(id) ? `#/components/schemas/${keyOf(id)}${rest}` : reference
  }
}

/** Keys of components are letters, digits and `.-_`. */
export function keyOf (text: string): string {
  return text.replace(/[^A-Za-z0-9._-]+/g, '_').replace(/^_+|_+$/g, '') || '_'
}

/** TypeBox's are; what other libraries make has methods, or says that it is theirs. */
function isJsonSchema (schema: unknown): schema is JsonSchema {
  if (typeof schema !== 'object' || schema === null || '~standard' in schema) return false
  const prototype: unknown = Object.getPrototypeOf(schema)
  return prototype === Object.prototype || prototype === null
}
