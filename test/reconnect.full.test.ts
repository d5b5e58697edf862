/** `listen()` as docs/guides/clients.md shows it, and its recipe for fetch-event-source, in a real browser, against every answer that they may get. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { connectStream } from '../lib/testing/index.ts'
import { listen, live } from './helpers/app.ts'
import { launchChromium } from './helpers/chromium.ts'
import { IMPORTS, serveClient } from './helpers/client-modules.ts'
import { readSnippets, root } from './helpers/docs.ts'

const snippets = readSnippets(['docs/guides/clients.md'])
const LIBRARY = `${root}node_modules/@microsoft/fetch-event-source/lib/esm/`

const snippet = (file: string): string => {
  const code = snippets.get(file)
  if (code === undefined) throw new Error(`the page has no ${file}`)
  return code
}

/** A page that runs a snippet; a module's import is served from node_modules. */
async function open (t: Test, url: string, file: string): Promise<{ page: Page, said: string[] }> {
  const browser = await (launched ??= launchChromium())
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  const said: string[] = []
  page.on('console', (message) => { if (message.type() === 'log') said.push(message.text()) })
  await page.route('**/library/*', async (route) => {
    const name = new URL(route.request().url()).pathname.split('/').at(-1) as string
    await route.fulfill({ contentType: 'text/javascript', body: readFileSync(LIBRARY + name.replace(/(\.js)?$/, '.js'), 'utf8') })
  })
  await serveClient(page)
  await page.goto(url)
  await page.clock.install()
  const imports = { ...IMPORTS, '@microsoft/fetch-event-source': '/library/index.js' }
  await page.addScriptTag({ type: 'importmap', content: JSON.stringify({ imports }) })
  const handles = file === RECONNECT ? '\nObject.assign(globalThis, { leave, listen })' : ''
  await page.addScriptTag({ content: snippet(file) + handles, type: 'module' })
  return { page, said }
}

/** What the server does with the next request: answers this status, or this stream, or cuts it off. */
type Answer = number | string | 'cut' | 'hold'

interface Scene {
  page: Page
  /** Requests for the stream, as they came, with the cursor that each brought. */
  asked: string[]
  said: string[]
  /** Waits for so many requests; `wake` runs the page's timers meanwhile. */
  reach: (count: number, wake?: boolean) => Promise<void>
  /** Lets ten minutes go by, and resolves when whatever they would have brought would be here. */
  quiet: () => Promise<void>
  release: () => void
}

const ANSWER = 'answer.browser.js'
const RECONNECT = 'reconnect.browser.js'
let launched: Promise<Browser> | undefined
t.setTimeout(180_000)
t.teardown(async () => { await (await launched)?.close() })

const STREAM = { 'content-type': 'text/event-stream' }

async function scene (t: Test, answers: Answer[], file = RECONNECT): Promise<Scene> {
  const asked: string[] = []
  const held: ServerResponse[] = []
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    // A browser asks once more by itself where a connection that it had kept is cut.
    response.setHeader('connection', 'close')
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    if (!/^\/(orders|answers)\/42/.test(pathname)) {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>')
      return
    }
    const cursor = request.headers['last-event-id'] ?? searchParams.get('lastEventId')
    asked.push(`${request.method}${cursor ? ` ${String(cursor)}` : ''}`)
    const next = answers.shift() ?? 'hold'
    if (next === 'cut') request.socket.destroy()
    else if (next === 'hold') held.push(response)
    else if (typeof next === 'number') response.writeHead(next, next === 302 ? { location: '/orders/42/elsewhere' } : {}).end()
    else response.writeHead(200, STREAM).end(`retry: 1\n\n${next}`)
  }
  const server = createServer(answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { page, said } = await open(t, `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, file)
  const mark = async (): Promise<void> => { await page.evaluate(async () => { await fetch('/mark') }) }
  return {
    page,
    asked,
    said,
    async reach (count, wake = true) {
      while (asked.length < count) {
        if (wake) await page.clock.runFor(1000)
        await mark()
      }
    },
    async quiet () {
      for (let n = 0; n < 3; n++) {
        await mark()
        await page.clock.runFor(200_000)
      }
      await mark()
    },
    release: () => { for (const response of held.splice(0)) response.writeHead(503).end() }
  }
}

const event = (name: string, id: string, data: unknown = {}): string => `event: ${name}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`
const shipped = event('status', 'b', { status: 'shipped' })
const END = event('realtime:end', 'z', { reason: 'done' })

for (const status of [204, 400, 401, 403, 404, 405, 410, 422]) {
  t.test(`listen() takes ${status} for an answer`, async (t) => {
    const { asked, reach, quiet } = await scene(t, [status])
    await reach(1)
    await quiet()
    t.same(asked, ['GET'])
  })
}

for (const status of [429, 500, 502, 503, 504]) {
  t.test(`listen() comes back after ${status}, and goes on from where it was`, async (t) => {
    const { asked, said, reach } = await scene(t, [event('realtime:open', 'a'), status, status, event('realtime:open', 'a') + shipped])
    await reach(5)
    t.same(asked.slice(0, 5), ['GET', 'GET a', 'GET a', 'GET a', 'GET b'])
    t.same(said, ['shipped'])
  })
}

t.test('listen() waits longer after each failure, at most half a minute', async (t) => {
  const { page, asked, reach } = await scene(t, Array.from({ length: 20 }, () => 502))
  await page.evaluate(() => { Math.random = () => 1 })
  await reach(1, false)
  for (const [round, wait] of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].entries()) {
    // The timer may be set a little after its answer was sent: what is waited for is never more than was said.
    while (asked.length < 2 + round) {
      await page.clock.runFor(Math.min(wait, 1000))
      await page.evaluate(async () => { await fetch('/mark') })
    }
  }
  t.same(new Set(asked), new Set(['GET']))
})

t.test('listen() comes back after the network was away, and after an end that was not said to be one', async (t) => {
  const { asked, said, reach } = await scene(t, [event('realtime:open', 'a'), 'cut', 'cut', shipped, '', END])
  await reach(6)
  t.same(asked, ['GET', 'GET a', 'GET a', 'GET a', 'GET b', 'GET b'])
  t.same(said, ['shipped'])
})

for (const name of ['realtime:end', 'realtime:aborted']) {
  t.test(`listen() is over with ${name}`, async (t) => {
    const { asked, said, reach, quiet } = await scene(t, [shipped + event(name, 'z')])
    await reach(1)
    await quiet()
    t.same(asked, ['GET'])
    t.same(said, ['shipped'])
  })
}

t.test('an event without an id does not make listen() forget where it was', async (t) => {
  const { asked, reach } = await scene(t, [event('realtime:open', 'a'), 502, 'event: status\ndata: {"status":"early"}\n\n', 502, END])
  await reach(5)
  t.same(asked, ['GET', 'GET a', 'GET a', 'GET a', 'GET a'])
})

t.test('listen() keeps the query of its URL', async (t) => {
  const { page, asked } = await scene(t, [END])
  const requested = page.waitForRequest(/token=/)
  await page.waitForFunction('globalThis.listen')
  await page.evaluate("listen('/orders/42/events?token=a%26b', { on: {}, lastEventId: 'x/1' })")
  const request = await requested
  t.equal(new URL(request.url()).search, '?token=a%26b')
  t.equal((await request.allHeaders())['last-event-id'], 'x/1')
  t.ok(asked.length > 0)
})

const states: Array<[name: string, answers: Answer[], requests: number, wake: boolean]> = [
  ['while it listens', ['hold'], 1, false],
  ['while it waits for its next attempt', [502], 1, false],
  ['after it was over', [404], 1, false]
]
for (const [name, answers, requests, wake] of states) {
  t.test(`what listen() returns stops it, ${name}`, async (t) => {
    const { page, asked, reach, quiet, release } = await scene(t, answers)
    await reach(requests, wake)
    await page.evaluate('leave()')
    release()
    await page.evaluate(async () => { await fetch('/mark') })
    const before = asked.length
    await quiet()
    t.equal(asked.length, before)
    await page.evaluate('leave()')
  })
}

// --- fetch-event-source -------------------------------------------------------------

const word = (id: string, text: string): string => `event: word\nid: ${id}\ndata: ${text}\n\n`

for (const status of [204, 400, 401, 403, 404, 410, 429]) {
  t.test(`fetch-event-source takes ${status} for an answer`, async (t) => {
    const { asked, said, reach, quiet } = await scene(t, [word('a', 'one'), status], ANSWER)
    await reach(2)
    await quiet()
    t.same(asked, ['GET', 'GET a'])
    t.same(said, ['one', 'over'])
  })
}

t.test('fetch-event-source comes back after a bad gateway, a cut, and a graceful end, and is over with the source', async (t) => {
  for (const end of ['realtime:end', 'realtime:aborted']) {
    const { asked, said, reach, quiet } = await scene(t, [502, word('a', 'one'), 503, 'cut', 500, word('b', 'two'), event(end, 'z')], ANSWER)
    await reach(7)
    await quiet()
    t.same(asked, ['GET', 'GET', 'GET a', 'GET a', 'GET a', 'GET a', 'GET b'])
    t.same(said, ['one', 'two', 'over'])
  }
})

// --- a source of ours ---------------------------------------------------------------

for (const [file, url] of [[RECONNECT, '/orders/42/events'], [ANSWER, '/answers/42']] as const) {
  t.test(`${file} hears a resumable source to its end, and does not come back`, async (t) => {
    const app = await live(t)
    const asked: string[] = []
    app.addHook('onRequest', async (request) => { if (request.url.startsWith(url)) asked.push(request.method) })
    app.get('/', (_request, reply) => { reply.type('text/html').send('<!doctype html>') })
    app.get('/mark', async () => 'here')
    app.stream(url, {
      resumable: { key: () => '42' },
      async * source () {
        yield { event: 'status', data: { status: 'shipped' } }
        yield { event: 'word', data: 'shipped' }
      }
    })
    const origin = await listen(app)
    const { page, said } = await open(t, origin, file)
    const mark = async (): Promise<void> => { await page.evaluate(async () => { await fetch('/mark') }) }
    while (!said.includes('shipped')) await mark()
    const cursor = (await connectStream(app, url, { t }).then(async (client) => await client.next('realtime:end'))).id
    const before = asked.length
    await page.clock.runFor(200_000)
    await mark()
    t.equal(asked.length, before)

    // Who comes back all the same is told to stay away.
    if (file === RECONNECT) {
      const answered = page.waitForResponse((response) => response.status() === 204)
      await page.evaluate(`listen('${url}', { on: {}, lastEventId: '${String(cursor)}' })`)
      await answered
    }
    await mark()
    await page.clock.runFor(200_000)
    await mark()
    t.equal(asked.length, before + (file === RECONNECT ? 1 : 0))
  })
}
