/** What the inspector copies as code runs: in a shell, in a page, and as a test. And forms and reports that it makes. */
import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { asBrowserCode, asCurl, asTest, type Opening } from '../../lib/inspector/page/code.ts'
import { binaryFrame, frameOf, heardOf, move } from '../../lib/inspector/page/frames.ts'
import { Report } from '../../lib/inspector/page/report.ts'
import { exampleOf, propertiesOf } from '../../lib/inspector/page/schema.ts'
import { launchChromium } from '../helpers/chromium.ts'
import { root } from '../helpers/docs.ts'
import { IMPORTS, serveClient } from '../helpers/client-modules.ts'
import { live } from '../helpers/app.ts'
import { bearer, holding, made, SECRET } from '../helpers/tokens.ts'

/** In the repository, so that the package finds itself by its name. */
mkdirSync(`${root}.cache`, { recursive: true })
const HOSTILE = ["it's </script><!-- \\ $", '{x} " \u2028 $(reboot) `id`'].join('')

const base: Opening = { kind: 'stream', method: 'GET', url: 'http://x/', headers: {}, body: undefined, format: 'envelope', wire: 'websocket', token: '', events: ['said'], message: undefined, join: [] }

const APP = `
import Fastify from 'fastify'
import realtime from 'fastify-realtime'
export async function build () {
  const app = Fastify()
  await app.register(realtime, { closeTimeout: 500, tokens: { secret: '${SECRET}' } })
  const room = app.topic('rooms/:room', { authorize: () => true })
  const side = app.topic('side/:id', { authorize: () => true })
  app.stream('/rooms/:room', { topics: room, method: ['GET', 'POST'] })
  app.channel('/ws/:room', { topics: room, subscribe: side, http: true, messages: { say: { handler: (data) => data } } })
  return app
}
`

async function served (t: Test) {
  const app = await live(t, { tokens: { secret: SECRET } })
  const heard: Array<{ headers: Record<string, unknown>, body: unknown, query: unknown }> = []
  const room = app.topic('rooms/:room', { authorize: () => true })
  const side = app.topic('side/:id', { authorize: () => true })
  app.addHook('preHandler', async ({ headers, body, query }) => { heard.push({ headers, body, query }) })
  app.stream('/rooms/:room', { topics: room, method: ['GET', 'POST'] })
  const said: unknown[] = []
  app.channel('/ws/:room', { topics: room, subscribe: side, http: true, messages: { say: { handler: (data) => { said.push(data); return data } } } })
  app.get('/', (_request, reply) => { reply.type('text/html').send(`<!doctype html><script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`) })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, url, room, side, heard, said }
}

/** Runs a copied command, until it has said this. */
async function shell (t: Test, command: string, wanted: string, tell: () => Promise<unknown> = async () => {}): Promise<void> {
  const child = spawn('sh', ['-c', `exec ${command.replace(/^curl/, 'curl -s')}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill() })
  let text = ''
  const telling = setInterval(() => { tell().catch(() => {}) }, 20)
  for await (const part of child.stdout.setEncoding('utf8')) {
    text += String(part)
    if (text.includes(wanted)) break
  }
  clearInterval(telling)
  t.match(text, wanted)
  child.kill()
}

t.test('as curl: the shell takes every word as it is, and the events come', async (t) => {
  const { url, room, heard } = await served(t)
  const run = async (opening: Opening, wanted: string): Promise<void> =>
    await shell(t, asCurl(opening), wanted, async () => await room.publish({ room: '1' }, 'said', { text: 'hello' }))
  await run({ ...base, url: `${url}/rooms/1?q=${encodeURIComponent(HOSTILE)}`, headers: { 'x-odd': HOSTILE.replace('\u2028', '') } }, '{"text":"hello"}')
  t.match(heard[0], { query: { q: HOSTILE }, headers: { 'x-odd': HOSTILE.replace('\u2028', '') } })
  await run({ ...base, method: 'POST', url: `${url}/rooms/1`, body: { odd: HOSTILE } }, '{"text":"hello"}')
  t.same(heard[1]?.body, { odd: HOSTILE })
  await run({ ...base, kind: 'channel', url: `${url}/ws/1`, format: 'flat' }, '{"type":"said","text":"hello"}')
})

t.test('as curl, of a channel over HTTP: one command hears it and what was joined, the other sends the message', async (t) => {
  const { url, room, side, heard, said } = await served(t)
  const opening: Opening = {
    ...base,
    kind: 'channel',
    wire: 'http',
    url: `${url}/ws/1?q=${encodeURIComponent(HOSTILE)}`,
    headers: { ...bearer(made(holding())), 'x-odd': "it's" },
    join: ['side/1'],
    message: { event: 'say', data: { odd: HOSTILE } }
  }
  const [open = '', message = ''] = asCurl(opening).split('\n\n# The message, from another shell:\n')
  await shell(t, open, '"topic":"rooms/1","event":"said"', async () => await room.publish({ room: '1' }, 'said', 1))
  await shell(t, open, '"topic":"side/1","event":"said"', async () => await side.publish({ id: '1' }, 'said', 1))
  t.match(heard[0], { query: { q: HOSTILE }, headers: { 'x-odd': "it's" } })
  await shell(t, message, JSON.stringify({ odd: HOSTILE }))
  t.same(said, [{ odd: HOSTILE }])
  t.match(heard.at(-1), { headers: { 'x-odd': "it's" } })
  t.notMatch(asCurl({ ...opening, message: undefined, join: [] }), /topics|another shell/)
})

t.test('as a test: it passes where it is run', async (t) => {
  const folder = mkdtempSync(join(root, '.cache/copied-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'app.js'), APP)
  const openings: Opening[] = [
    { ...base, url: `http://x/rooms/1?q=${encodeURIComponent(HOSTILE)}`, headers: { 'x-odd': 'a"b\'c' } },
    { ...base, method: 'POST', url: 'http://x/rooms/1', body: { odd: HOSTILE } },
    { ...base, kind: 'channel', url: 'http://x/ws/1', token: made(holding()), join: ['side/1'], message: { event: 'say', data: { odd: HOSTILE } } },
    { ...base, kind: 'channel', wire: 'http', url: 'http://x/ws/1', headers: { 'x-odd': 'a' }, join: ['side/1'], message: { event: 'say', data: 1 } },
    { ...base, kind: 'channel', url: 'http://x/ws/1', format: 'flat', message: { event: 'say', data: 'text' } }
  ]
  for (const [at, opening] of openings.entries()) {
    const file = join(folder, `${at}.test.js`)
    writeFileSync(file, asTest(opening))
    const { stdout } = await promisify(execFile)(process.execPath, ['--test', '--test-reporter=tap', file], { env: { PATH: process.env.PATH ?? '' } })
      .catch((error: { stdout: string, stderr: string }) => ({ stdout: error.stdout + error.stderr }))
    t.match(stdout, /# pass 1\n/, `${readFileSync(file, 'utf8')}\n${stdout}`)
  }
})

t.test('as browser code: a page of the app hears what comes, and is answered', async (t) => {
  const { url, room, heard, said } = await served(t)
  const browser = await launchChromium()
  t.teardown(() => browser.close())
  const openings: Array<[Opening, RegExp]> = [
    [{ ...base, url: `${url}/rooms/1?q=${encodeURIComponent(HOSTILE)}` }, /^said .*hello/],
    [{ ...base, url: `${url}/rooms/1`, headers: { 'x-odd': 'a"b\'c' } }, /^said .*hello/],
    [{ ...base, kind: 'channel', url: `${url}/ws/1`, token: made(holding()), join: ['rooms/1'] }, /^said .*hello/],
    [{ ...base, kind: 'channel', url: `${url}/ws/1`, message: { event: 'say', data: { odd: HOSTILE } } }, /odd/],
    [{ ...base, kind: 'channel', url: `${url}/ws/1`, format: 'flat' }, /hello/],
    [{ ...base, kind: 'channel', wire: 'http', url: `${url}/ws/1`, headers: { 'x-odd': 'a"b\'c' }, join: ['rooms/1'], message: { event: 'say', data: { odd: HOSTILE } } }, /odd/]
  ]
  for (const [opening, wanted] of openings) {
    const page = await browser.newPage()
    await serveClient(page)
    await page.goto(url)
    const lines: string[] = []
    const heard = new Promise<void>((resolve) => page.on('console', (message) => {
      lines.push(message.text())
      if (wanted.test(message.text())) resolve()
    }))
    await page.addScriptTag({ type: 'module', content: asBrowserCode(opening) })
    const telling = setInterval(() => { room.publish({ room: '1' }, 'said', { text: 'hello' }).catch(() => {}) }, 20)
    await heard
    clearInterval(telling)
    t.ok(lines.some((line) => wanted.test(line)), asBrowserCode(opening))
    await page.close()
  }
  t.same(said.at(-1), { odd: HOSTILE })
  t.match(heard.at(-1), { headers: { 'x-odd': 'a"b\'c' } })
})

t.test('a form has a field for each member that is simple, and JSON for the rest', async (t) => {
  const shared = { price: { schema: { type: 'object', properties: { cents: { type: 'integer', minimum: 1 } } } } }
  const schema = {
    type: 'object',
    required: ['name', 'price'],
    properties: {
      name: { type: 'string', minLength: 2 },
      amount: { type: 'number' },
      yes: { type: 'boolean' },
      size: { enum: ['s', 'm'] },
      color: { anyOf: [{ const: 'red' }, { const: 'blue' }] },
      price: { $ref: '#/components/schemas/price' },
      tags: { type: 'array' }
    }
  }
  t.same(propertiesOf(schema, shared)?.map(({ name, kind, required }) => [name, kind, required]), [
    ['name', 'text', true], ['amount', 'number', false], ['yes', 'flag', false], ['size', 'choice', false], ['color', 'choice', false], ['price', 'json', true], ['tags', 'json', false]
  ])
  t.same(exampleOf(schema, shared), { name: 'xx', amount: 0, yes: false, size: 's', color: 'red', price: { cents: 1 }, tags: [] })
  for (const odd of [undefined, null, true, 1, 'x', [], { $ref: 'nowhere' }, { $ref: '#/components/schemas/nowhere' }]) t.equal(propertiesOf(odd, shared), undefined)
  const circle: Record<string, unknown> = { type: 'object', properties: {} }
  circle.properties = { self: circle }
  t.ok(JSON.stringify(exampleOf(circle, {})).length < 1000, 'a schema within itself comes to an end')
})

t.test('frames are shown as what they say, bytes by their number; what cannot be read throws nothing', async (t) => {
  t.match(heardOf(frameOf('{"topic":"a","event":"said","id":"1","data":{"x":1}}'), 'raw'), { name: 'said', topic: 'a', id: '1', data: { x: 1 }, raw: 'raw', frame: false, bytes: false })
  t.match(heardOf(frameOf('{"topic":"a","event":"said","encoding":"base64","data":"AQID"}'), ''), { data: { bytes: 3 }, bytes: true })
  t.match(heardOf({ op: 'bye', code: 4401 }, ''), { name: 'bye', frame: true, data: { code: 4401 } })
  const head = new TextEncoder().encode('{"topic":"a","event":"said","id":"2"}')
  const whole = new Uint8Array(4 + head.length + 5)
  new DataView(whole.buffer).setUint32(0, head.length)
  whole.set(head, 4)
  const { frame, raw } = binaryFrame(whole.buffer)
  t.match(heardOf(frame, raw), { name: 'said', id: '2', data: { bytes: 5 }, bytes: true })
  const cursors = new Map([['b', '1']])
  move(cursors, frame)
  move(cursors, { op: 'snapshot', topic: 'b', data: {} })
  t.same([...cursors], [['a', '2']])
  for (const odd of ['null', '1', '"x"', 'x', '[]']) t.match(heardOf(frameOf(odd), odd), { name: 'undefined' })
  for (const odd of [new ArrayBuffer(0), new ArrayBuffer(3), new Uint8Array([255, 0, 0, 0, 1]).buffer]) t.match(binaryFrame(odd).frame, { event: 'unreadable', bytes: odd.byteLength })
})

t.test('what was replayed is told apart from what is new, and what came twice is told', async (t) => {
  const report = new Report()
  t.equal(report.words, undefined)
  for (const id of ['1', '2']) t.same(report.see(id), { replayed: false, again: false })
  report.begin()
  report.expect(['2', '3', '4'])
  t.match(report.words, { text: /2 missed, 0 replayed, 2 still missing/, fine: false })
  t.same([report.see('3'), report.see('4'), report.see('5')], [{ replayed: true, again: false }, { replayed: true, again: false }, { replayed: false, again: false }])
  t.match(report.words, { text: 'Resumed: 2 missed, 2 replayed', fine: true })
  t.same(report.see('5'), { replayed: false, again: true })
  t.match(report.words, { text: '1 came twice, which must not happen', fine: false })
  report.begin()
  t.match(report.words, { text: /nothing was missed/, fine: true })
  report.reset('rooms/1', 'expired')
  t.match(report.words, { text: 'Events were lost, reset: rooms/1 (expired)', fine: false })
})
