/**
 * Schemas → codecs. JSON schemas are compiled by Fastify's own compilers (ajv, fast-json-stringify) with the scope's
 * shared schemas; anything else (zod, valibot …) by the compilers that the app has set.
 *
 * JSON has types, so nothing is coerced here, unlike a query string: "5" is not 5.
 */
import AjvCompiler from '@fastify/ajv-compiler'
import SerializerSelector from '@fastify/fast-json-stringify-compiler'
import type { FastifyInstance } from 'fastify'
import { toError } from './core/callbacks.ts'
import type { Codec } from './core/topic.ts'
import { SchemaInvalid } from './errors.ts'

type Validator = ((data: unknown) => unknown) & { errors?: unknown }

/** What clients send gets defaults and loses unknown members, as a body does; what the app publishes is not touched. */
const RECEIVED = { customOptions: { coerceTypes: false, useDefaults: true, removeAdditional: true, allErrors: false } } as const
const PUBLISHED = { customOptions: { coerceTypes: false, useDefaults: false, removeAdditional: false, allErrors: false } } as const

/** Compilers of one scope, built when first needed and only once. */
export class Schemas {
  readonly #scope: FastifyInstance
  #ajv = new Map<object, (route: never) => Validator>()
  #stringify: ((route: never) => (data: unknown) => string) | undefined

  constructor (scope: FastifyInstance) {
    this.#scope = scope
  }

  /** @throws SchemaInvalid */
  validator (what: string, schema: unknown, of: 'received' | 'published'): (data: unknown) => string | undefined {
    const validate = this.#compile(what, () => {
      const ajv = () => this.#ajvCompiler(of === 'received' ? RECEIVED : PUBLISHED)
      const compiler = isJsonSchema(schema) ? ajv() : this.#scope.validatorCompiler ?? ajv()
      return compiler({ schema, method: '', url: what, httpPart: 'body' } as never) as Validator
    })
    return (data) => faultOf(validate, data)
  }

  /** @throws SchemaInvalid */
  serializer (what: string, schema: unknown): (data: unknown) => string {
    return this.#compile(what, () => {
      const compiler = this.#scope.serializerCompiler ?? this.#stringifyCompiler()
      return compiler({ schema, method: '', url: what, httpStatus: '200' } as never) as (data: unknown) => string
    })
  }

  #compile<T> (what: string, compile: () => T): T {
    try {
      return compile()
    } catch (error) {
      throw new SchemaInvalid(what, toError(error).message)
    }
  }

  #ajvCompiler (options: object): (route: never) => Validator {
    let compiler = this.#ajv.get(options)
    if (!compiler) {
      compiler = AjvCompiler()(this.#scope.getSchemas() as never, options as never) as unknown as (route: never) => Validator
      this.#ajv.set(options, compiler)
    }
    return compiler
  }

  #stringifyCompiler (): (route: never) => (data: unknown) => string {
    this.#stringify ??= SerializerSelector()(this.#scope.getSchemas() as never, {}) as (route: never) => (data: unknown) => string
    return this.#stringify
  }
}

/** Compiles when first used, or when the app becomes ready: schemas may be added until then. */
export class LazyCodec implements Codec {
  readonly #schemas: Schemas
  readonly #what: string
  readonly #schema: unknown
  #serialize: ((data: unknown) => string) | undefined
  #fault: ((data: unknown) => string | undefined) | undefined

  constructor (schemas: Schemas, what: string, schema: unknown) {
    this.#schemas = schemas
    this.#what = what
    this.#schema = schema
  }

  compile (): void {
    this.#serialize ??= this.#schemas.serializer(this.#what, this.#schema)
    this.#fault ??= this.#schemas.validator(this.#what, this.#schema, 'published')
  }

  serialize (data: unknown): string {
    if (!this.#serialize) this.compile()
    return (this.#serialize as (data: unknown) => string)(data)
  }

  fault (data: unknown): string | undefined {
    if (!this.#fault) this.compile()
    return (this.#fault as (data: unknown) => string | undefined)(data)
  }
}

function isJsonSchema (schema: unknown): boolean {
  if (typeof schema !== 'object' || schema === null || '~standard' in schema) return false
  const prototype = Object.getPrototypeOf(schema)
  return prototype === Object.prototype || prototype === null
}

interface AjvError { instancePath?: string, message?: string }

/** Fastify's three ways of saying no: `false` with errors, `{ error }`, a throw. */
function faultOf (validate: Validator, data: unknown): string | undefined {
  let result: unknown
  try {
    result = validate(data)
  } catch (error) {
    return toError(error).message
  }
  if (result === false) return describe(validate.errors)
  const error = (result as { error?: Error } | undefined)?.error
  return error ? error.message : undefined
}

function describe (errors: unknown): string {
  const first = (Array.isArray(errors) ? errors[0] : undefined) as AjvError | undefined
  return `data${first?.instancePath ?? ''} ${first?.message ?? 'does not match its schema'}`
}
