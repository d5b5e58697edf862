/** A form made of a schema: a field for each member that is simple, and JSON for what is not. */
import { field, h, json } from './dom.ts'
import { exampleOf, propertiesOf, type Property, type Shared } from './schema.ts'

export interface Form {
  readonly element: HTMLElement
  /** @throws Error where a field holds no JSON, or one that is needed is empty */
  value (): Record<string, unknown>
}

/** `names`: those that are needed whatever the schema says, such as the params of a URL. */
export function formOf (
  title: string, schema: unknown, shared: Shared, names: readonly string[] = []
): Form {
  const known = propertiesOf(schema, shared) ?? []
  const others = names.filter((name) => !known.some((property) => property.name === name))
  const plain: Property[] = others.map((name) => ({ name, shape: {}, required: true, kind: 'text', choices: [] }))
  const fields = [...plain, ...known].map((property) => fieldOf(
    names.includes(property.name) ? { ...property, required: true } : property, shared))
  const element = h('fieldset', {}, h('legend', {}, title), ...fields.map(({ element }) => element))
  return {
    element,
    value: () => Object.fromEntries(fields.flatMap(({ name, read }) => {
      const value = read()
      return value === undefined ? [] : [[name, value]]
    }))
  }
}

/** Lines of `name: value`, for headers and queries that no schema names. */
export function linesForm (title: string, hint: string, placeholder: string): Form {
  const input = h('textarea', { attrs: { rows: 2, placeholder, spellcheck: 'false' } })
  return {
    element: field(title, input, hint),
    value: () => Object.fromEntries(input.value.split('\n').flatMap((line) => {
      const at = line.search(/[:=]/)
      if (line.trim() === '') return []
      if (at < 1) throw new Error(`${title}: "${line}" is not of the form ${hint}`)
      return [[line.slice(0, at).trim(), line.slice(at + 1).trim()]]
    }))
  }
}

/** Data of a message. */
export function jsonForm (title: string, schema: unknown, shared: Shared): { element: HTMLElement, value (): unknown } {
  const known = propertiesOf(schema, shared)
  if (known && known.length > 0 && known.every(({ kind }) => kind !== 'json')) return formOf(title, schema, shared)
  const input = h('textarea', { attrs: { rows: 4, spellcheck: 'false' } })
  input.value = json(exampleOf(schema, shared))
  return { element: field(title, input, 'JSON'), value: () => parse(title, input.value) }
}

interface Field { name: string, element: HTMLElement, read (): unknown }

function fieldOf (property: Property, shared: Shared): Field {
  const { name, kind, required } = property
  const input = inputOf(property, shared)
  const label = required ? `${name} *` : name
  return {
    name,
    element: field(label, input, hintOf(property)),
    read: () => {
      const text = input.value
      if (text === '' && required && kind !== 'text') throw new Error(`Fill in "${name}": it is required.`)
      if (text === '') return required ? '' : undefined
      return valueOf(property, text)
    }
  }
}

function inputOf ({ kind, choices, required, shape }: Property, shared: Shared) {
  if (kind === 'choice' || kind === 'flag') {
    const all = kind === 'flag' ? [false, true] : choices
    return h('select', {}, ...required ? [] : [h('option', { attrs: { value: '' } }, '(left out)')],
      ...all.map((choice) => h('option', { attrs: { value: JSON.stringify(choice) } }, String(choice))))
  }
  if (kind !== 'json') return h('input', { attrs: { type: kind === 'number' ? 'number' : 'text', step: 'any' } })
  const area = h('textarea', { attrs: { rows: 3, spellcheck: 'false' } })
  if (required) area.value = json(exampleOf(shape, shared))
  return area
}

function hintOf ({ kind, shape }: Property): string | undefined {
  const { description, pattern } = shape
  if (typeof description === 'string') return description
  if (typeof pattern === 'string') return `fits ${pattern}`
  return kind === 'json' ? 'JSON' : undefined
}

function valueOf ({ kind, name }: Property, text: string): unknown {
  if (kind === 'text') return text
  return kind === 'number' ? Number(text) : parse(name, text)
}

function parse (name: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`"${name}" is not valid JSON. Correct it, and try again.`)
  }
}
