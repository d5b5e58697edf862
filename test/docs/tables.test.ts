/** The tables of docs/reference/ are the code's: options with their defaults, and errors with their statuses. */
import Fastify from 'fastify'
import t from 'tap'
import { readSettings } from '../../lib/adapters/redis/options.ts'
import * as errors from '../../lib/errors.ts'
import { readInspectorOptions } from '../../lib/inspector/options.ts'
import realtime from '../../lib/index.ts'
import { readOptions, readResumable } from '../../lib/options.ts'
import tracing from '../../lib/tracing/index.ts'
import { tableUnder } from '../helpers/docs.ts'

type Json = Record<string, unknown>

const OPTIONS = 'docs/reference/options.md'

const numbersUnder = (heading: string): Record<string, number> =>
  Object.fromEntries([...tableUnder(OPTIONS, heading)].map(([name, text]) => [name, Number(text)]))

t.test('the options and their defaults', async (t) => {
  const settings = readOptions({}) as unknown as Json
  const rows = tableUnder(OPTIONS, '## Plugin')
  t.same([...rows.keys()].sort(), Object.keys(settings).sort())
  for (const [name, text] of rows) {
    const value = settings[name]
    if (typeof value === 'number') t.equal(Number(text), value, name)
    if (typeof value === 'string') t.equal(text, `'${value}'`, name)
  }
  const { limit, maxAge, maxBytes } = settings.history as Json
  t.equal(rows.get('history'), `{ limit: ${limit}, maxAge: ${maxAge}, maxBytes: ${maxBytes} }`)
  t.same(numbersUnder('## Limits of a channel'), settings.limits)
  const { key, space, start, ...resumable } = readResumable(true)
  t.match(numbersUnder('## Resumable sources'), resumable)
})

t.test('the options of the Redis adapter', async (t) => {
  const rows = tableUnder(OPTIONS, '## The Redis adapter')
  const { prefix, wait, ...numbers } = readSettings({})
  t.same([...rows.keys()].sort(), ['client', 'cluster', 'connection', 'prefix', 'url', 'wait', ...Object.keys(numbers)].sort())
  t.equal(rows.get('prefix'), prefix)
  for (const [name, value] of Object.entries(numbers)) t.equal(Number(rows.get(name)), value, name)
})

t.test('the options of the inspector', async (t) => {
  const { onRequest, hosts, jsonSchema, ...numbers } = readInspectorOptions({})
  for (const [page, heading] of [[OPTIONS, '## The inspector'], ['docs/guides/inspector.md', '## Options']] as const) {
    const rows = tableUnder(page, heading)
    t.same([...rows.keys()].sort(), ['hosts', 'jsonSchema', 'onRequest', 'prefix', ...Object.keys(numbers)].sort())
    for (const [name, value] of Object.entries(numbers)) t.equal(Number(rows.get(name)), value, name)
  }
})

t.test('the options of tracing', async (t) => {
  const pages = [tableUnder(OPTIONS, '## Tracing'), tableUnder('docs/guides/tracing.md', '## Options')] as const
  t.same([...pages[0]], [...pages[1]])
  const refusal = async (options: object): Promise<string> => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(realtime)
    return await app.register(tracing, options).then(() => 'it is not refused', ({ message }: Error) => message)
  }
  for (const name of pages[0].keys()) t.match(await refusal({ [name]: 'wrong' }), new RegExp(`${name}.*must be`))
  t.match(await refusal({ none: 1 }), `Known: ${[...pages[0].keys()].join(', ')}`)
})

t.test('the errors', async (t) => {
  const codes = Object.values(errors).map((CodedError) => {
    const { code, statusCode } = Reflect.construct(CodedError, []) as { code: string, statusCode: number }
    return [code.replace('FST_ERR_REALTIME_', ''), statusCode]
  })
  const rows = tableUnder('docs/reference/errors.md', '# Errors')
  t.same([...rows.keys()].sort(), codes.map(([code]) => code).sort())
  for (const [code, status] of codes) {
    const said = rows.get(String(code))
    // Mistakes in declarations have no client to answer.
    if (said !== '') t.equal(Number(said), status, String(code))
    else t.equal(status, 500, String(code))
  }
})
