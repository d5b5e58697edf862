/**
 * Schemas → what checks and writes data. A schema goes to the compiler that the app has set for the route or the
 * scope, as everywhere in Fastify. A JSON schema that this cannot read (an app may use zod here and JSON schema there),
 * or for which there is none, goes to Ajv and fast-json-stringify with the scope's shared schemas.
 *
 * JSON has types, so this Ajv coerces nothing, unlike a query string's: "5" is not 5.
 */
import AjvCompiler from '@fastify/ajv-compiler'
import SerializerSelector from '@fastify/fast-json-stringify-compiler'
import type { FastifyInstance } from 'fastify'
import { compilersOf, type Compile } from './compilers.ts'
import { toError } from './core/callbacks.ts'
import type { Codec } from './core/payload.ts'
import { andThen, type MaybePromise } from './core/maybe-promise.ts'
import { SchemaInvalid } from './errors.ts'
import { check, describe, type Check, type Validator } from './core/validation.ts'

interface Serializer {
  readonly write: (data: unknown) => unknown
  /** Could this text be something else than JSON? */
  readonly doubts: (text: string) => boolean
}

/** What clients send gets defaults and loses unknown members, as a body does; what the app publishes is not touched. */
const RECEIVED = {
  customOptions: { coerceTypes: false, useDefaults: true, removeAdditional: true, allErrors: false }
} as const
// "unsafe" is fast-json-stringify's word, which Ajv does not know.
const PUBLISHED = {
  customOptions: {
    coerceTypes: false, useDefaults: false, removeAdditional: false, allErrors: false, formats: { unsafe: true }
  }
} as const

/** Compilers of one scope, built when first needed and only once. */
export class Schemas {
  readonly #scope: FastifyInstance
  #ajv = new Map<object, Compile>()
  #stringify: Compile | undefined

  constructor (scope: FastifyInstance) {
    this.#scope = scope
  }

  /** `own`: the compiler of the route alone. @throws SchemaInvalid */
  validator (what: string, schema: unknown, of: 'received' | 'published', own?: Compile): Check {
    const validate = inWords(what, () => this.#validator({ schema, method: '', url: what, httpPart: 'body' }, of, own))
    return (data) => check(validate, data)
  }

  #validator (route: Parameters<Compile>[0], of: 'received' | 'published', own: Compile | undefined): Validator {
    const set = own ?? compilersOf(this.#scope).validator
    const ajv = (): Validator => this.#ajvCompiler(of === 'received' ? RECEIVED : PUBLISHED)(route) as Validator
    if (!set && !isJsonSchema(route.schema)) {
      throw new Error('it is not a JSON schema, and the app has set no compiler for it: see setValidatorCompiler()')
    }
    if (!set) return ajv()
    const validator = (): Validator => callable(set(route)) as Validator
    return isJsonSchema(route.schema) ? firstThat(readsJsonSchema, validator, ajv) : validator()
  }

  /** @throws SchemaInvalid */
  serializer (what: string, schema: unknown): Serializer {
    const route = { schema, method: '', url: what, httpStatus: '200' }
    return inWords(what, () => {
      const set = compilersOf(this.#scope).serializer
      if (!isJsonSchema(schema)) {
        return set ? foreign(set(route)) : { write: (data) => JSON.stringify(data) ?? 'null', doubts: never }
      }
      const own = (compiler: Compile): Serializer => ours(compiler(route), schema, this.#scope.getSchemas())
      if (!set) return own(this.#scope.serializerCompiler as Compile | undefined ?? this.#stringifyCompiler())
      return firstThat(() => true, () => foreign(set(route)), () => own(this.#stringifyCompiler()))
    })
  }

  /** The app's serializer compiler, if it has one, takes JSON schema. */
  get plain (): boolean {
    try {
      compilersOf(this.#scope).serializer?.({ schema: { type: 'string' }, method: 'GET', url: '', httpStatus: '200' })
      return true
    } catch {
      return false
    }
  }

  #ajvCompiler (options: object): Compile {
    let compiler = this.#ajv.get(options)
    if (!compiler) {
      compiler = AjvCompiler()(this.#scope.getSchemas() as Record<string, object>, options) as unknown as Compile
      this.#ajv.set(options, compiler)
    }
    return compiler
  }

  #stringifyCompiler (): Compile {
    this.#stringify ??= SerializerSelector()(this.#scope.getSchemas() as Record<string, object>, {}) as Compile
    return this.#stringify
  }
}

function inWords<T> (what: string, compile: () => T): T {
  try {
    return compile()
  } catch (error) {
    throw new SchemaInvalid(what, toError(error).message)
  }
}

/** What the app's own compiler makes of a schema, where that is of use; else what ours does. */
function firstThat<T> (isOfUse: (made: T) => boolean, app: () => T, ours: () => T): T {
  let why: unknown
  try {
    const made = app()
    if (isOfUse(made)) return made
  } catch (error) {
    why = error
  }
  try {
    return ours()
  } catch (error) {
    throw why ?? error
  }
}

/**
 * Does this validator know what to do with a JSON schema? One of zod's, Joi's or yup's takes it for a schema of its own
 * and fails on what that lacks ("schema.validate is not a function"), whatever the data.
 */
function readsJsonSchema (validate: Validator): boolean {
  try {
    const said = validate({}) as { error?: unknown } | PromiseLike<unknown> | undefined
    if (said && 'then' in Object(said)) (said as PromiseLike<unknown>).then(() => {}, () => {})
    return !isTypeError((said as { error?: unknown } | undefined)?.error)
  } catch (error) {
    return !isTypeError(error)
  }
}

// By its name: in a test runner's realm it is another class.
const isTypeError = (error: unknown): boolean =>
  error !== undefined && error !== null && (error as Error).name === 'TypeError'

/** Compiles when first used, or when the app becomes ready: schemas may be added until then. */
export class LazyCodec implements Codec {
  readonly #schemas: Schemas
  readonly #what: string
  readonly #schema: unknown
  #serializer: Serializer | undefined
  #check: Check | undefined

  constructor (schemas: Schemas, what: string, schema: unknown) {
    this.#schemas = schemas
    this.#what = what
    this.#schema = schema
  }

  compile (): void {
    this.#serializer ??= this.#schemas.serializer(this.#what, this.#schema)
    this.#check ??= this.#schemas.validator(this.#what, this.#schema, 'published')
  }

  serialize (data: unknown): unknown {
    if (!this.#serializer) this.compile()
    return (this.#serializer as Serializer).write(data)
  }

  doubts (text: string): boolean {
    return (this.#serializer as Serializer).doubts(text)
  }

  // A schema that is not JSON schema may describe the value in memory instead of what is sent of it (zod's `date()`,
  // its codecs): either will do.
  fault (sent: unknown, data: unknown): MaybePromise<string | undefined> {
    const verify = this.#check as Check
    return andThen(verify(sent), ({ fault }) => fault === undefined || isJsonSchema(this.#schema)
      ? fault
      : andThen(verify(data), (checked) => checked.fault))
  }
}

function callable (compiled: unknown): (data: unknown) => unknown {
  if (typeof compiled !== 'function') throw new Error('its compiler did not return a function')
  return compiled as (data: unknown) => unknown
}

const never = (): boolean => false
const always = (): boolean => true

/** The app's: it may give anything. */
function foreign (serialize: unknown): Serializer {
  const write = callable(serialize)
  return {
    doubts: always,
    write: (data) => {
      try {
        return write(data)
      } catch (error) {
        throw explained(toError(error))
      }
    }
  }
}

/** Some serializers say what is wrong in the cause alone. */
function explained (error: Error): Error {
  return error.cause === undefined ? error : new Error(`${error.message}: ${describe(error.cause)}`, { cause: error })
}

/**
 * fast-json-stringify writes JSON but for two cases: `undefined` where a member without a type has no JSON form (a
 * function, a toJSON that gives nothing), and a string of the format "unsafe" as it is.
 */
function ours (serialize: unknown, schema: unknown, shared: unknown): Serializer {
  const write = callable(serialize)
  return {
    doubts: mentions('"unsafe"', [schema, shared]) ? always : (text) => text.includes('undefined'),
    write: (data) => {
      const text = write(data)
      return text === 'undefined' ? 'null' : text
    }
  }
}

function mentions (word: string, schemas: unknown): boolean {
  try {
    return JSON.stringify(schemas).includes(word)
  } catch {
    return true
  }
}

/**
 * A plain object, of whichever realm, or a boolean. What other libraries make is an instance of a class, or bears their
 * mark.
 */
function isJsonSchema (schema: unknown): boolean {
  if (typeof schema === 'boolean') return true
  if (typeof schema !== 'object' || schema === null || '~standard' in schema) return false
  const prototype: unknown = Object.getPrototypeOf(schema)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}
