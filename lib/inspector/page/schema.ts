/** Schemas, as the page shows them and makes forms and examples of them. Pure. */
import type { ShownSchema } from '../shapes.ts'

export type Shape = Record<string, unknown>
/** What references lead to, by name. */
export type Shared = Readonly<Record<string, unknown>>

const REFERENCE = /^#\/components\/schemas\/([^/]+)$/
const MAX_DEPTH = 6

/** What a schema says; a reference to a shared one is followed. `{}` where nothing is known of it. */
export function shapeOf (schema: unknown, shared: Shared): Shape {
  if (!isShape(schema)) return {}
  const [, id] = REFERENCE.exec(String(schema.$ref ?? '')) ?? []
  const target = id === undefined ? undefined : shared[id] as ShownSchema | undefined
  return target && 'schema' in target && isShape(target.schema) ? target.schema : schema
}

export interface Property {
  name: string
  shape: Shape
  required: boolean
  kind: 'text' | 'number' | 'flag' | 'choice' | 'json'
  choices: unknown[]
}

/** The members of an object; undefined where it is none, or takes any. */
export function propertiesOf (schema: unknown, shared: Shared): Property[] | undefined {
  const { properties, required } = shapeOf(schema, shared)
  if (!isShape(properties)) return undefined
  const needed = Array.isArray(required) ? required : []
  return Object.entries(properties).map(([name, one]) => {
    const shape = shapeOf(one, shared)
    const choices = choicesOf(shape)
    const kind = choices.length > 0 ? 'choice' : kindOf(shape)
    return { name, shape, required: needed.includes(name), choices, kind }
  })
}

function kindOf ({ type }: Shape): Property['kind'] {
  if (type === 'string') return 'text'
  if (type === 'number' || type === 'integer') return 'number'
  return type === 'boolean' ? 'flag' : 'json'
}

function choicesOf (shape: Shape): unknown[] {
  if (Array.isArray(shape.enum)) return shape.enum
  if ('const' in shape) return [shape.const]
  const each = shape.anyOf ?? shape.oneOf
  if (!Array.isArray(each) || !each.every((one) => isShape(one) && 'const' in one)) return []
  return each.map((one) => (one as Shape).const)
}

/** Something that fits it, more or less: to be changed by whoever sends it. */
export function exampleOf (schema: unknown, shared: Shared, depth = 0): unknown {
  const shape = shapeOf(schema, shared)
  if ('default' in shape) return shape.default
  if (Array.isArray(shape.examples) && shape.examples.length > 0) return shape.examples[0]
  const [choice] = choicesOf(shape)
  if (choice !== undefined) return choice
  if (depth > MAX_DEPTH) return null
  return exampleOfType(shape, shared, depth)
}

function exampleOfType (shape: Shape, shared: Shared, depth: number): unknown {
  switch (shape.type) {
    case 'string': return 'x'.repeat(typeof shape.minLength === 'number' ? Math.min(shape.minLength, 40) : 0)
    case 'number':
    case 'integer': return typeof shape.minimum === 'number' ? shape.minimum : 0
    case 'boolean': return false
    case 'null': return null
    case 'array': return []
  }
  const each = shape.allOf ?? shape.anyOf ?? shape.oneOf
  if (!isShape(shape.properties) && Array.isArray(each)) return exampleOf(each[0], shared, depth + 1)
  const members = propertiesOf(shape, shared) ?? []
  return Object.fromEntries(members.map(({ name, shape }) => [name, exampleOf(shape, shared, depth + 1)]))
}

export function isShape (value: unknown): value is Shape {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
