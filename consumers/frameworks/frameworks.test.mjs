// The recipes of docs/guides/frameworks.md in a real browser, counted at the server; and on a server that renders.
import assert from 'node:assert/strict'
import { channel } from 'node:diagnostics_channel'
import { writeFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import Fastify from 'fastify'
import realtime from 'fastify-realtime'
import { connect } from 'fastify-realtime/client'
import { chromium } from 'playwright-core'
import { FLAGS } from '../ai/browser.mjs'
import { cutter, until } from '../recipes/helper.mjs'
import { bundle } from './bundle.mjs'

const FRAMEWORKS = ['react', 'vue', 'svelte']
let browser
before(async () => { browser = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', args: FLAGS }) })
after(() => browser.close())

const script = (framework) => `
  import { connect } from 'fastify-realtime/client'
  import { mount } from './${framework}.mjs'
  const rt = globalThis.rt = connect('/realtime', { firstDelay: 20 })
  globalThis.app = await mount(document.querySelector('main'), rt)
`

async function serve (t, framework) {
  const app = Fastify()
  await app.register(realtime, { identify: () => ({ id: 'ada' }), retry: 20, closeTimeout: 1000 })
  const room = app.topic('rooms/:room', { authorize: () => true, presence: { grace: 0 } })
  const board = app.topic('boards/:board', { authorize: () => true, keyed: true })
  const dials = []
  app.channel('/realtime', { subscribe: [room, board], presence: true, onConnect: () => { dials.push(framework) } })
  app.get('/', (_request, reply) => reply.type('text/html').send('<!doctype html><link rel="icon" href="data:,"><main></main><script type="module" src="/page.js"></script>'))
  const code = await bundle(script(framework))
  app.get('/page.js', (_request, reply) => reply.type('text/javascript').send(code))
  const cut = cutter(app)
  await board.publish({ board: 'a' }, 'set', { v: 1 }, { key: 'k1' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.after(() => app.close())
  return { app, url, cut, dials, publish: (n, id = '1') => room.publish({ room: id }, 'n', n) }
}

async function open (t, url) {
  const context = await browser.newContext()
  t.after(() => context.close())
  const page = await context.newPage()
  const complaints = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()) })
  const broken = page.waitForEvent('pageerror', { timeout: 0 }).then((error) => { throw error })
  broken.catch(() => {})
  await page.goto(url)
  const shows = async (wanted) => {
    try {
      await page.waitForFunction((wanted) => document.querySelector('pre')?.textContent === wanted, JSON.stringify(wanted))
    } catch (error) {
      assert.fail(`${await page.content()}\n${complaints.join('\n')}\n${error}`)
    }
  }
  return { page, shows, complaints, broken }
}

const topicsOf = (app) => app.realtime.connections().flatMap(({ topics }) => topics).filter((name) => !name.startsWith('realtime:')).sort()
const ready = (app, ...topics) => until(() => JSON.stringify(topicsOf(app)) === JSON.stringify(topics))

for (const framework of FRAMEWORKS) {
  test(`${framework}: one connection, every event once behind a cut, another room, and nothing is left`, async (t) => {
    const { app, url, cut, dials, publish } = await serve(t, framework)
    const { page, shows, complaints, broken } = await open(t, url)
    await Promise.race([ready(app, 'boards/a', 'rooms/1'), broken])
    for (const n of [0, 1, 2]) await publish(n)
    await shows({ state: 'open', members: ['ada'], board: ['k1'], heard: [0, 1, 2] })
    assert.equal(dials.length, 1)

    cut()
    for (const n of [3, 4]) await publish(n)
    await shows({ state: 'open', members: ['ada'], board: ['k1'], heard: [0, 1, 2, 3, 4] })
    assert.equal(dials.length, 2)

    await page.evaluate("app.other('2')")
    await ready(app, 'boards/a', 'rooms/2')
    await publish(9, '1')
    await publish(5, '2')
    const before = framework === 'svelte' ? [] : [0, 1, 2, 3, 4]
    await shows({ state: 'open', members: ['ada'], board: ['k1'], heard: [...before, 5] })

    // All that listens leaves and comes in the same turn: the connection stays, and no topic is left.
    const taken = []
    const take = ({ topic }) => taken.push(topic)
    channel('fastify-realtime:subscribe').subscribe(take)
    t.after(() => channel('fastify-realtime:subscribe').unsubscribe(take))
    await page.evaluate("app.again('2')")
    await publish(6, '2')
    await shows({ state: 'open', members: ['ada'], board: ['k1'], heard: [6] })
    assert.deepEqual(taken, [])

    await page.evaluate('app.end()')
    await page.waitForFunction("rt.state.get().is === 'idle'")
    await until(() => app.realtime.stats().connections.websocket === 0)
    assert.equal(dials.length, 2)
    // What a browser itself says of a connection that was cut is no fault of the page's.
    assert.deepEqual(complaints.filter((text) => !/WebSocket connection to/.test(text)), [])
  })
}

const RENDER = {
  react: "import { renderToString } from 'react-dom/server'; import { view } from './react.mjs'; export default (rt) => renderToString(view(rt))",
  vue: "import { renderToString } from 'vue/server-renderer'; import { view } from './vue.mjs'; export default (rt) => renderToString(view(rt))",
  svelte: "import { render } from 'svelte/server'; import { readable } from 'svelte/store'; import App from './App.svelte'\n" +
    "export default async (rt) => (await render(App, { props: { rt, shown: readable({ id: '1' }) } })).body"
}

for (const framework of FRAMEWORKS) {
  test(`${framework}: a server that renders opens nothing`, async (t) => {
    let dials = 0
    class Counted { constructor () { dials++ } }
    const rt = connect('http://127.0.0.1:9/realtime', { WebSocket: Counted })
    t.after(() => rt.close())
    const banner = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" }
    const code = await bundle(RENDER[framework], { platform: 'node', banner })
    const file = new URL(`../../.cache/full/recipes/${framework}-server.mjs`, import.meta.url)
    writeFileSync(file, code)
    const { default: render } = await import(file)
    const html = await render(rt)
    assert.match(html.replaceAll('&quot;', '"'), /"state":"idle","members":\[\],"board":\[\],"heard":\[\]/)
    // Whoever dials does so within the turn.
    await new Promise((resolve) => setTimeout(resolve))
    assert.equal(dials, 0)
    assert.equal(rt.state.get().is, 'idle')
  })
}
