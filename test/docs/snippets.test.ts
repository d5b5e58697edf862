/**
 * The README and docs/ do what they say: every snippet whose first line is a file name (`// server.mjs`) is run, in Node or in
 * a real browser (`….browser.js`), or type-checked (`.ts`), against the built package.
 * Those of `recipePages` are run by `npm run test:full`.
 */
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t from 'tap'
import ts from 'typescript'
import { fetch } from 'undici'
import { root } from '../helpers/docs.ts'
import { HttpProxy } from '../helpers/http-proxy.ts'
import { RedisServer } from '../helpers/redis.ts'
import { closeBrowser, folder, listen, open, proxyTo, put, serve, snippets, start, talk } from '../helpers/snippets.ts'

// A browser and a dozen processes, on machines of any size.
t.setTimeout(180_000)
t.jobs = 6
t.teardown(closeBrowser)

t.test('every snippet with a file name has its test', async (t) => {
  // answer.browser.js and reconnect.browser.js have most of theirs in test/reconnect.full.test.ts.
  t.same([...snippets.keys()].sort(), [
    'answer.browser.js',
    'answer.mjs',
    'answers.browser.js',
    'answers.mjs',
    'auction.ts',
    'blocked.browser.js',
    'blocked.mjs',
    'board.mjs',
    'chat.browser.js',
    'chat.mjs',
    'continued.browser.js',
    'continued.mjs',
    'described.mjs',
    'gateway.mjs',
    'hear.mjs',
    'inspected.mjs',
    'jwt.mjs',
    'metrics.mjs',
    'migrated.browser.js',
    'migrated.mjs',
    'node.mjs',
    'openapi.mjs',
    'orders.browser.js',
    'orders.test.mjs',
    'other-client.test.mjs',
    'prices.browser.js',
    'prices.mjs',
    'private.mjs',
    'reconnect.browser.js',
    'resumable.browser.js',
    'resumable.mjs',
    'resume.browser.js',
    'room.browser.js',
    'room.mjs',
    'server.mjs',
    'sessions.mjs',
    'tabs.browser.js',
    'tokens.mjs',
    'topics.ts',
    'traced.mjs',
    'typed-page.ts',
    'typed-server.ts'
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

t.test('an AsyncAPI document', async (t) => {
  const url = await serve(t, 'described.mjs')
  const document = await (await fetch(`${url}/asyncapi.json`)).json() as { channels: object, operations: object }
  t.same([Object.keys(document.channels), Object.keys(document.operations)], [['orders_orderId'], ['stream_orders_orderId_events_orders_orderId_stream']])
})

t.test('an OpenAPI document of 3.2', async (t) => {
  const url = await serve(t, 'openapi.mjs')
  const { openapi, paths } = await (await fetch(`${url}/openapi.json`)).json() as { openapi: string, paths: Record<string, object> }
  t.equal(openapi, '3.2.0')
  const itemSchema = { oneOf: [{ properties: { event: { const: 'status' }, data: { contentMediaType: 'application/json', contentSchema: { properties: { status: {} } } } } }] }
  t.match(paths['/orders/{orderId}/events'], { get: { responses: { 200: { content: { 'text/event-stream': { itemSchema } } } } } })
})

t.test('the inspector', async (t) => {
  const url = await serve(t, 'inspected.mjs')
  t.equal(await put(`${url}/orders/42`), 200)
  const page = await fetch(`${url}/realtime/inspector`)
  t.match(await page.text(), 'Realtime inspector')
  t.equal((await fetch(`${url}/realtime/inspector/inspector/page/main.js`)).headers.get('content-type'), 'text/javascript; charset=utf-8')
})

t.test('metrics', async (t) => {
  const url = await serve(t, 'metrics.mjs')
  t.equal(await put(`${url}/orders/42`), 200)
  t.match(await (await fetch(`${url}/metrics`)).text(), 'realtime_published_total{topic="orders/:orderId"} 1')
})

t.test('traces: a publish, and what consumes it, linked', async (t) => {
  const child = start(t, 'traced.mjs')
  let all = ''
  let url: string | undefined
  for await (const line of createInterface({ input: child.stdout })) {
    all += `${line}\n`
    if (line.startsWith('http://')) t.equal(await put(`${url = line}/orders/42`), 200)
    if (/^ {2}links: \[$/.test(line)) break
  }
  t.ok(url)
  t.match(all, /name: 'publish orders\/:orderId'/)
  t.match(all, /heard changed/)
  t.match(all, /name: 'process orders\/:orderId'/)
})

t.test('traces: what a page does because of an event belongs to the trace of its publish', async (t) => {
  const url = await serve(t, 'continued.mjs')
  const page = await open(t, url, 'continued.browser.js')
  await page.received('"subscribed"')
  t.equal(await put(`${url}/orders/42`), 200)
  await page.received('"traceparent"')
  const told = page.frames().map((frame) => JSON.parse(frame) as { event?: string, traceparent?: string }).find(({ event }) => event === 'changed')
  t.match(told?.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
  t.same(await page.said(1), [told?.traceparent])
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

t.test('what others became', async (t) => {
  const url = await serve(t, 'migrated.mjs')
  const page = await open(t, url, 'migrated.browser.js')
  t.same((await page.said(2)).sort(), ['ada Hello', 'sent string'])

  const inbox = listen(t, `${url}/users/ada/events?as=ada`, ['realtime:open', 'notified'])
  await inbox.next('realtime:open')
  const body = JSON.stringify({ text: 'your order is ready' })
  t.equal((await fetch(`${url}/users/ada/notify`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).status, 200)
  t.equal((await inbox.next('notified')).data, body)
  t.match(await (await fetch(`${url}/export`)).text(), /event: row\nid: 3|id: 3\nevent: row/)
})

t.test('hooks, identify and authorize', async (t) => {
  const url = await serve(t, 'private.mjs')
  const status = async (path: string) => (await fetch(url + path, { headers: { accept: 'text/event-stream' } })).status
  t.equal(await status('/users/ada/events'), 401)
  t.equal(await status('/users/ada/events?token=token-b'), 403)
  const hello = await listen(t, `${url}/users/ada/events?token=token-a`).next('hello')
  t.same(JSON.parse(hello.data), { name: 'ada' })
})

t.test('cookies and sessions, and signing out everywhere', async (t) => {
  const url = await serve(t, 'sessions.mjs')
  t.equal((await fetch(`${url}/inbox`)).status, 401)
  const login = await fetch(`${url}/login/ada`, { method: 'POST' })
  const cookie = String(login.headers.get('set-cookie')).split(';')[0] as string
  const stream = await fetch(`${url}/inbox`, { headers: { cookie, accept: 'text/event-stream' } })
  t.equal(stream.status, 200)
  t.equal((await fetch(`${url}/sign-out-everywhere`, { method: 'POST', headers: { cookie } })).status, 200)
  t.match(await stream.text(), /realtime:open/, 'it has ended')
  t.equal((await fetch(`${url}/inbox`, { headers: { cookie } })).status, 401)
})

t.test('JWTs by @fastify/jwt: refused when they have expired, and when they were revoked', async (t) => {
  const url = await serve(t, 'jwt.mjs')
  const login = async (query = '') => {
    const { token } = await (await fetch(`${url}/login/ada${query}`, { method: 'POST' })).json() as { token: string }
    return { authorization: `Bearer ${token}`, accept: 'text/event-stream' }
  }
  const headers = await login()
  const stream = await fetch(`${url}/news`, { headers })
  t.equal(stream.status, 200)
  t.equal((await fetch(`${url}/sign-out-everywhere`, { method: 'POST', headers })).status, 200)
  await stream.text()
  const { code } = await (await fetch(`${url}/news`, { headers })).json() as { code: string }
  t.equal(code, 'FST_ERR_REALTIME_REVOKED')
  t.equal((await fetch(`${url}/news`)).status, 401)
})

t.test('tokens, as a bearer, in the query and in frames', async (t) => {
  const url = await serve(t, 'tokens.mjs')
  const tokenFor = async (user: string, room: number) => (await (await fetch(`${url}/token/${user}/${room}`, { method: 'POST' })).json() as { token: string }).token
  const token = await tokenFor('ada', 1)
  t.equal((await fetch(`${url}/rooms/2?token=${token}`)).status, 403)
  t.equal((await fetch(`${url}/rooms/1`)).status, 401)
  const cut = new AbortController()
  const { status, body } = await fetch(`${url}/rooms/1?token=${token}`, { headers: { accept: 'text/event-stream' }, signal: cut.signal })
  t.equal(status, 200)
  t.equal((await fetch(`${url}/say/1?text=hello`, { method: 'POST' })).status, 200)
  let text = ''
  for await (const part of body as AsyncIterable<Uint8Array>) {
    text += Buffer.from(part).toString()
    if (text.includes('{"text":"hello"}')) break
  }
  t.match(text, /event: said/)
  cut.abort()
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

t.test('the newest of each key', async (t) => {
  const url = await serve(t, 'prices.mjs')
  t.equal(await put(`${url}/prices/kibble/40`), 200)
  const page = await open(t, url, 'prices.browser.js')
  await page.said(1)
  t.equal(await put(`${url}/prices/leash/12`), 200)
  await page.said(2)
  t.equal((await fetch(`${url}/prices/kibble`, { method: 'DELETE' })).status, 200)
  t.same(await page.said(3), ['kibble 40', 'kibble 40, leash 12', 'leash 12'])
  const { items, size, more } = await (await fetch(`${url}/prices.json`)).json() as { items: unknown[], size: number, more: boolean }
  t.match({ items, size, more }, { items: [{ key: 'leash', event: 'price', data: { sku: 'leash', price: 12 } }], size: 1, more: false })
})

t.test('who is there', async (t) => {
  const url = await serve(t, 'room.mjs')
  const page = await open(t, url, 'room.browser.js')
  t.same(await page.said(1), ['nobody'])
  const ada = await talk(t, url, '/rooms/1?user=ada')
  t.match(await ada.next(), { type: 'realtime:presence', data: { topic: 'rooms/1', type: 'members' } })
  t.same(await page.said(2), ['nobody', 'ADA'])
  t.match(await (await fetch(`${url}/rooms/1/members`)).json(), { members: [{ id: 'ada', info: { name: 'ADA' } }], size: 1, more: false })
})

t.test('a topic heard in the same process', async (t) => {
  const lines = createInterface({ input: start(t, 'hear.mjs').stdout })[Symbol.asyncIterator]()
  const url = (await lines.next()).value as string
  t.equal(await put(`${url}/orders/41/status`, { status: 'lost' }), 200)
  t.equal(await put(`${url}/orders/42/status`, { status: 'shipped' }), 200)
  t.equal((await lines.next()).value, 'heard status shipped string')
})

t.test('an answer that a POST begins, in a format of others', async (t) => {
  const url = await serve(t, 'answer.mjs')
  t.equal((await fetch(`${url}/api/chat/c1/stream`)).status, 204)
  const body = JSON.stringify({ id: 'c1', messages: [{}] })
  const answer = await fetch(`${url}/api/chat`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  t.equal(answer.headers.get('x-vercel-ai-ui-message-stream'), 'v1')
  const data = (await answer.text()).match(/^data: .*$/gm) ?? []
  t.equal(data.at(-1), 'data: [DONE]')
  t.same(data.slice(0, -1).map((line) => (JSON.parse(line.slice(6)) as { type: string }).type),
    ['start', 'text-start', 'text-delta', 'text-delta', 'text-delta', 'text-end', 'finish'])
  t.equal((await fetch(`${url}/api/chat/c1/stream`)).status, 204, 'it is over')
  const stopped = await fetch(`${url}/api/chat/c1/stop`, { method: 'POST' })
  t.same(await stopped.json(), { stopped: false })
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

t.test('a channel where WebSockets are blocked', async (t) => {
  const proxy = await HttpProxy.start(t, Number(new URL(await serve(t, 'blocked.mjs')).port))
  proxy.upgrades = 403
  const page = await open(t, proxy.url, 'blocked.browser.js')
  t.same((await page.said(2)).sort(), ['heard Hello', 'sent 5'])
  t.equal(proxy.asked, 1)
  t.ok(proxy.posts.length > 0)
})

t.test('a gateway', async (t) => {
  // The whole of its page is tried in test/proxies.full.test.ts.
  const [orders, rooms] = [await serve(t, 'server.mjs'), await serve(t, 'chat.mjs')]
  const url = await serve(t, 'gateway.mjs', { UPSTREAM: orders })
  const page = await open(t, url, 'orders.browser.js', '/orders/42/events')
  t.equal(await put(`${url}/orders/42/status`, { status: 'shipped' }), 200)
  t.same(await page.said(1), ['shipped'])

  const chat = await talk(t, await serve(t, 'gateway.mjs', { UPSTREAM: rooms }))
  const other = await talk(t, rooms)
  chat.send({ type: 'say', text: 'Hello' })
  t.match(await other.next(), { type: 'said', text: 'Hello' })
})

t.test('one connection for all tabs', async (t) => {
  const url = await serve(t, 'chat.mjs')
  const page = await open(t, url, 'tabs.browser.js')
  await page.received('"op":"subscribed"')
  const tab = await page.another('tabs.browser.js')
  await tab.until('navigator.locks.query().then(({ held }) => held.filter(({ name }) => name.includes("ada")).length === 3)')
  const other = await talk(t, url)
  // Whoever has come just now may hear from the next one on.
  other.send({ type: 'say', text: 'one' })
  t.same(await page.said(1), ['one'])
  for (let n = 2; (await tab.so()).length === 0; n++) {
    other.send({ type: 'say', text: `${n}` })
    await page.said(n)
  }
  t.same(await tab.frames(), [], 'it has no connection of its own')
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
  const page = await open(t, url, 'resumable.browser.js')
  t.same(await page.said(2), ['Run 2', 'is over.'])
})

t.test('the test kit', async (t) => {
  const child = start(t, 'orders.test.mjs')
  const [code] = await once(child, 'close')
  t.equal(code, 0, child.output())
})

t.test('a client in a process of its own, held against the suite', async (t) => {
  const child = start(t, 'other-client.test.mjs', { CLIENT: `${process.execPath} ${root}test/helpers/driven-child.mjs` })
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
