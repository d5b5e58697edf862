/**
 * The README does what it says: every snippet whose first line is a file name (`// server.mjs`) is run, in Node or in a
 * real browser (`….browser.js`), or type-checked (`.ts`), against the built package; and its tables are the code's.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { EventSource } from 'eventsource'
import type { Browser } from 'playwright-core'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { fetch } from 'undici'
import { WebSocket } from 'ws'
import * as errors from '../lib/errors.ts'
import { readSettings } from '../lib/adapters/redis/options.ts'
import { readOptions, readResumable } from '../lib/options.ts'
import { RedisServer } from './helpers/redis.ts'
import { launchChromium } from './helpers/chromium.ts'

type Json = Record<string, unknown>

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = `${root}.cache/readme/`
const readme = readFileSync(`${root}README.md`, 'utf8')
const snippets = readSnippets(readme)

// Inside the repository, so that 'fastify-realtime' is the built package.
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
for (const [file, code] of snippets) writeFileSync(folder + file, code)

let launched: Promise<Browser> | undefined
// A browser and a dozen processes, on machines of any size.
t.setTimeout(180_000)
t.jobs = 6
t.teardown(async () => { await (await launched)?.close() })

t.test('every snippet with a file name has its test', async (t) => {
  // answer.browser.js and reconnect.browser.js have most of theirs in reconnect.test.ts.
  t.same([...snippets.keys()].sort(), [
    'answer.browser.js', 'answers.browser.js', 'answers.mjs', 'auction.ts', 'board.mjs', 'chat.browser.js', 'chat.mjs', 'node.mjs', 'orders.browser.js',
    'orders.test.mjs', 'private.mjs', 'reconnect.browser.js', 'resumable.mjs', 'resume.browser.js', 'server.mjs'
  ])
})

t.test('a first stream', async (t) => {
  const url = await serve(t, 'server.mjs')
  const page = await open(t, url, 'orders.browser.js', '/orders/42/events')
  t.equal(await put(`${url}/orders/42/status`, {}), 400, 'the schema is checked')
  t.equal(await put(`${url}/orders/41/status`, { status: 'lost' }), 200)
  t.equal(await put(`${url}/orders/42/status`, { status: 'shipped' }), 200)
  t.same(await page.said(1), ['shipped'])
})

t.test('a first channel', async (t) => {
  const url = await serve(t, 'chat.mjs')
  const page = await open(t, url, 'chat.browser.js')
  t.same(await page.said(1), ['said Hello'])

  const [one, other] = [await talk(t, url), await talk(t, url)]
  one.send({ type: 'say', text: 'Good day' })
  t.match(await other.next(), { type: 'said', by: /^anonymous:/, text: 'Good day' })
  t.match(await one.next(), { type: 'said', text: 'Good day' })
  one.send({ type: 'typing', by: 'somebody else' })
  t.match(await other.next(), { type: 'typing', by: /^anonymous:/ })
  one.send({ type: 'say', text: 'x'.repeat(501) })
  t.match(await one.next(), { type: 'error', code: 'INVALID_DATA' }, 'a relay does not come back')
})

t.test('hooks, identify and authorize', async (t) => {
  const url = await serve(t, 'private.mjs')
  const status = async (path: string) => (await fetch(url + path, { headers: { accept: 'text/event-stream' } })).status
  t.equal(await status('/users/ada/events'), 401)
  t.equal(await status('/users/ada/events?token=token-b'), 403)
  const hello = await listen(t, `${url}/users/ada/events?token=token-a`).next('hello')
  t.same(JSON.parse(hello.data), { name: 'ada' })
})

t.test('a snapshot, joined exactly to the live events', async (t) => {
  const url = await serve(t, 'board.mjs')
  const first = listen(t, `${url}/inventory`)
  t.same(JSON.parse((await first.next('realtime:snapshot')).data), { topic: 'inventory', data: { kibble: 40, leash: 12 } })
  t.equal(await put(`${url}/inventory/leash/3`), 200)
  t.same(JSON.parse((await first.next('stock')).data), { item: 'leash', count: 3 })

  const second = listen(t, `${url}/inventory`)
  t.same(JSON.parse((await second.next('realtime:snapshot')).data).data, { kibble: 40, leash: 3 })
  t.equal(await put(`${url}/inventory/kibble/39`), 200)
  t.same(JSON.parse((await second.next('stock')).data), { item: 'kibble', count: 39 }, 'nothing comes twice')
})

t.test('an EventSource that was answered 502', async (t) => {
  const url = await serve(t, 'server.mjs')
  const proxy = await proxyTo(t, url)
  const page = await open(t, proxy.url, 'reconnect.browser.js', '/orders/42/events')
  await put(`${url}/orders/42/status`, { status: 'packed' })
  t.same(await page.said(1), ['packed'])

  await proxy.badGateway()
  await put(`${url}/orders/42/status`, { status: 'shipped' })
  proxy.pass()
  await put(`${url}/orders/42/status`, { status: 'delivered' })
  t.same(await page.said(3), ['packed', 'shipped', 'delivered'], 'it comes back, and has missed nothing')
})

t.test('a channel that resumes', async (t) => {
  const url = await serve(t, 'chat.mjs')
  const proxy = await proxyTo(t, url)
  const page = await open(t, proxy.url, 'resume.browser.js')
  const other = await talk(t, url)
  const say = async (text: string) => {
    other.send({ type: 'say', text })
    await other.next()
  }
  await page.received('"op":"subscribed"')
  await say('one')
  t.same(await page.said(1), ['one'])

  await proxy.hold()
  await say('two')
  proxy.pass()
  await page.said(2)
  await say('three')
  t.same(await page.said(3), ['one', 'two', 'three'])
})

t.test('several nodes', async (t) => {
  const server = await RedisServer.start(t)
  const [one, other] = [await serve(t, 'node.mjs', { REDIS_URL: server.url }), await serve(t, 'node.mjs', { REDIS_URL: server.url })]
  const reader = listen(t, `${other}/news`, ['realtime:open', 'item'])
  await reader.next('realtime:open')
  const response = await fetch(`${one}/news`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"title":"Kittens"}' })
  const { id } = await response.json() as { id: string }
  const { data, lastEventId } = await reader.next('item')
  t.same({ data, lastEventId }, { data: '{"title":"Kittens"}', lastEventId: id })
})

t.test('a source', async (t) => {
  const url = await serve(t, 'answers.mjs')
  const page = await open(t, url, 'answers.browser.js')
  t.same(await page.said(3), ['Fish', 'are', 'quiet.'])
  await page.until('answer.readyState === EventSource.CLOSED')
})

t.test('a resumable source', async (t) => {
  const url = await serve(t, 'resumable.mjs')
  const ask = async (headers = {}) => {
    const response = await fetch(`${url}/answers/42`, { headers: { accept: 'text/event-stream', ...headers } })
    return { status: response.status, text: await response.text() }
  }
  const [first, second] = [await ask(), await ask()]
  const words = ['Run 1', 'is over.', '{"reason":"done"}']
  for (const { text } of [first, second]) t.same([...text.matchAll(/^data: (?!{})(.*)$/gm)].map(([, data]) => data), words)
  const last = [...first.text.matchAll(/^id: (.*)$/gm)].at(-1)?.[1]
  t.equal((await ask({ 'last-event-id': last })).status, 204)
})

t.test('the test kit', async (t) => {
  const child = start(t, 'orders.test.mjs')
  const [code] = await once(child, 'close')
  t.equal(code, 0, child.output())
})

t.test('TypeScript', async (t) => {
  const { options } = ts.convertCompilerOptionsFromJson({
    target: 'es2022', module: 'nodenext', strict: true, exactOptionalPropertyTypes: true, skipLibCheck: true, noEmit: true, types: ['node']
  }, root)
  const program = ts.createProgram([...snippets.keys()].filter((file) => file.endsWith('.ts')).map((file) => folder + file), options)
  t.same(ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')), [])
})

t.test('the options and their defaults', async (t) => {
  const settings = readOptions({}) as unknown as Json
  const rows = tableUnder('### Plugin')
  t.same([...rows.keys()].sort(), Object.keys(settings).sort())
  for (const [name, text] of rows) {
    const value = settings[name]
    if (typeof value === 'number') t.equal(Number(text), value, name)
    if (typeof value === 'string') t.equal(text, `'${value}'`, name)
  }
  const { limit, maxAge, maxBytes } = settings.history as Json
  t.equal(rows.get('history'), `{ limit: ${limit}, maxAge: ${maxAge}, maxBytes: ${maxBytes} }`)
  t.same(Object.fromEntries([...tableUnder('### Limits of a channel')].map(([name, text]) => [name, Number(text)])), settings.limits)
  const { key, space, ...resumable } = readResumable(true)
  t.match(Object.fromEntries([...tableUnder('### Resumable sources')].map(([name, text]) => [name, Number(text)])), resumable)
})

t.test('the options of the Redis adapter', async (t) => {
  const rows = tableUnder('## Several nodes')
  const { prefix, wait, ...numbers } = readSettings({})
  t.same([...rows.keys()].sort(), ['client', 'cluster', 'connection', 'prefix', 'url', 'wait', ...Object.keys(numbers)].sort())
  t.equal(rows.get('prefix'), prefix)
  for (const [name, value] of Object.entries(numbers)) t.equal(Number(rows.get(name)), value, name)
})

t.test('the errors', async (t) => {
  const codes = Object.values(errors).map((CodedError) => {
    const { code, statusCode } = new CodedError()
    return [code.replace('FST_ERR_REALTIME_', ''), statusCode]
  })
  const rows = tableUnder('## Errors')
  t.same([...rows.keys()].sort(), codes.map(([code]) => code).sort())
  for (const [code, status] of codes) {
    const said = rows.get(String(code))
    // Mistakes in declarations have no client to answer.
    if (said !== '') t.equal(Number(said), status, String(code))
    else t.equal(status, 500, String(code))
  }
})

for (const document of ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md']) {
  t.test(`the links of ${document}`, async (t) => {
    const text = readFileSync(root + document, 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\(((?!https?:)[^)]+)\)/g)) {
      const [file = '', anchor] = target.split('#')
      t.ok(existsSync(root + (file || document)), target)
      if (anchor !== undefined) t.ok(anchors(file || document).includes(anchor), target)
    }
  })
}

// --- the README ------------------------------------------------------------------

function readSnippets (text: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const [, code = ''] of text.matchAll(/^```(?:js|mjs|ts)\n([^]*?)^```$/gm)) {
    const file = /^\/\/ (\S+\.(?:js|mjs|ts))\n/.exec(code)?.[1]
    if (file !== undefined) found.set(file, code)
  }
  return found
}

/** First column → second column of the table that follows a heading, without backquotes. */
function tableUnder (heading: string): Map<string, string> {
  const section = readme.split(`\n${heading}\n`)[1]?.split(/\n##/)[0] ?? ''
  const rows = section.split('\n').filter((line) => line.startsWith('| `'))
  return new Map(rows.map((line) => {
    const [, first = '', second = ''] = line.split('|').map((cell) => cell.trim().replaceAll('`', ''))
    return [first, second]
  }))
}

function anchors (file: string): string[] {
  const headings = readFileSync(root + file, 'utf8').match(/^#+ .*$/gm) ?? []
  return headings.map((line) => line.replace(/^#+ /, '').toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-'))
}

// --- processes and clients ----------------------------------------------------------

function start (t: Test, file: string, own: Record<string, string> = {}) {
  // What tap sets for its own children is not meant for these.
  const { NODE_OPTIONS, NODE_TEST_CONTEXT, NODE_V8_COVERAGE, ...env } = process.env
  const child = spawn(process.execPath, [folder + file], { cwd: folder, env: { ...env, ...own, PORT: '0' }, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise((resolve) => child.once('close', resolve))
  let output = ''
  child.stdout.on('data', (text) => { output += text })
  child.stderr.on('data', (text) => { output += text })
  t.teardown(async () => {
    child.kill()
    await ended
  })
  return Object.assign(child, { output: () => output })
}

/** Resolves with the URL that the server prints. */
async function serve (t: Test, file: string, env: Record<string, string> = {}): Promise<string> {
  const child = start(t, file, env)
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('http://')) return line
  }
  throw new Error(`${file} ended: ${child.output()}`)
}

async function put (url: string, body?: Json): Promise<number> {
  const json = body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const response = await fetch(url, { method: 'PUT', ...json })
  await response.text()
  return response.status
}

/** Something that is waited for, and looked for again at each change. */
function lookout () {
  const looks = new Set<() => void>()
  return {
    changed: () => { for (const look of looks) look() },
    until: (condition: () => boolean): Promise<void> => new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return
        looks.delete(look)
        resolve()
      }
      looks.add(look)
      look()
    })
  }
}

/** A page of the server's origin that runs a snippet. `path`: a stream that has to be open before it goes on. */
async function open (t: Test, url: string, file: string, path?: string) {
  const browser = await (launched ??= launchChromium())
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  const { changed, until } = lookout()
  const said: string[] = []
  const frames: string[] = []
  await page.goto(url)
  page.on('console', (message) => {
    if (message.type() !== 'log') return
    said.push(message.text())
    changed()
  })
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
    frames.push(String(payload))
    changed()
  }))
  const answered = path === undefined ? undefined : page.waitForResponse(url + path)
  await page.addScriptTag({ content: snippets.get(file) as string })
  await answered
  return {
    /** What the page has logged, when it is so much. */
    async said (count: number): Promise<string[]> {
      await until(() => said.length >= count)
      return said
    },
    received: (text: string) => until(() => frames.some((frame) => frame.includes(text))),
    until: (expression: string) => page.waitForFunction(expression)
  }
}

function listen (t: Test, url: string, names = ['hello', 'realtime:snapshot', 'stock']) {
  const source = new EventSource(url)
  t.teardown(() => source.close())
  const { changed, until } = lookout()
  const untaken: MessageEvent[] = []
  for (const name of names) {
    source.addEventListener(name, (event) => {
      untaken.push(event)
      changed()
    })
  }
  return {
    /** The next event of all, which has to have this name. */
    async next (name: string): Promise<MessageEvent> {
      await until(() => untaken.length > 0)
      const event = untaken.shift() as MessageEvent
      if (event.type !== name) throw new Error(`${event.type} instead of ${name}: ${event.data}`)
      return event
    }
  }
}

async function talk (t: Test, url: string) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/rooms/lobby`)
  t.teardown(() => socket.terminate())
  const { changed, until } = lookout()
  const untaken: Json[] = []
  socket.on('message', (data) => {
    untaken.push(JSON.parse(String(data)))
    changed()
  })
  await once(socket, 'open')
  return {
    send: (message: Json) => socket.send(JSON.stringify(message)),
    async next (): Promise<Json> {
      await until(() => untaken.length > 0)
      return untaken.shift() as Json
    }
  }
}

/** What stands between a client and its server, and fails as such things do. */
async function proxyTo (t: Test, url: string) {
  const { hostname, port } = new URL(url)
  const sockets = new Set<Socket>()
  const { changed, until } = lookout()
  let mode: 'pass' | 'hold' | 'bad' = 'pass'
  let refused = 0
  const held: Socket[] = []

  const server = createServer((client) => {
    sockets.add(client)
    client.on('error', () => {})
    client.on('close', () => sockets.delete(client))
    if (mode === 'pass') forward(client)
    if (mode === 'hold') held.push(client)
    if (mode === 'bad') refuse(client)
    changed()
  })

  function forward (client: Socket): void {
    const upstream = connect(Number(port), hostname.replace(/^\[|\]$/g, ''))
    sockets.add(upstream)
    upstream.on('error', () => {})
    upstream.on('close', () => {
      sockets.delete(upstream)
      client.destroy()
    })
    client.on('close', () => upstream.destroy())
    client.pipe(upstream).pipe(client)
  }

  function refuse (client: Socket): void {
    client.once('data', () => {
      client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
      refused++
      changed()
    })
  }

  function cut (): void {
    for (const socket of sockets) socket.destroy()
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    cut()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** Cuts everybody, and answers 502 to whoever comes. Resolves when somebody has come. */
    async badGateway (): Promise<void> {
      mode = 'bad'
      cut()
      await until(() => refused > 0)
    },
    /** Cuts everybody, and lets whoever comes wait. Resolves when somebody waits. */
    async hold (): Promise<void> {
      mode = 'hold'
      cut()
      await until(() => held.length > 0)
    },
    pass (): void {
      mode = 'pass'
      for (const client of held.splice(0)) forward(client)
    }
  }
}
