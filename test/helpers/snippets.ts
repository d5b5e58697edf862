/** Snippets of the README and of docs/, run against the built package: in Node, or in a page of a real browser; and who talks to them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { EventSource } from 'eventsource'
import type { Browser, BrowserContext } from 'playwright-core'
import type { Test } from 'tap'
import { fetch } from 'undici'
import { WebSocket } from 'ws'
import { launchChromium } from './chromium.ts'
import { IMPORTS, serveClient } from './client-modules.ts'
import { pages, readSnippets, recipePages, root } from './docs.ts'

type Json = Record<string, unknown>

export const snippets = readSnippets(pages.filter((page) => !recipePages.includes(page)))

/** Inside the repository, so that 'fastify-realtime' is the built package. */
export const folder = `${root}.cache/snippets/`

rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
for (const [file, code] of snippets) writeFileSync(folder + file, code)

let launched: Promise<Browser> | undefined

export async function closeBrowser (): Promise<void> {
  await (await launched)?.close()
}

// --- processes and clients ----------------------------------------------------------

export function start (t: Test, file: string, own: Record<string, string> = {}) {
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
export async function serve (t: Test, file: string, env: Record<string, string> = {}): Promise<string> {
  const child = start(t, file, env)
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('http://')) return line
  }
  throw new Error(`${file} ended: ${child.output()}`)
}

export async function put (url: string, body?: Json): Promise<number> {
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
export async function open (t: Test, url: string, file: string, path?: string) {
  const browser = await (launched ??= launchChromium())
  const context = await browser.newContext()
  t.teardown(() => context.close())
  return await openIn(context, url, file, path)
}

/** `context`: tabs of one share a profile. */
async function openIn (context: BrowserContext, url: string, file: string, path?: string) {
  const page = await context.newPage()
  const { changed, until } = lookout()
  const said: string[] = []
  const frames: string[] = []
  await serveClient(page)
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
  const content = snippets.get(file) as string
  const isModule = content.includes('\nimport ')
  if (isModule) await page.addScriptTag({ type: 'importmap', content: JSON.stringify({ imports: IMPORTS }) })
  await page.addScriptTag({ content, ...isModule && { type: 'module' } })
  await answered
  return {
    /** What the page has logged, when it is so much. */
    async said (count: number): Promise<string[]> {
      await until(() => said.length >= count)
      return said
    },
    /** Another tab of the same profile. */
    another: (file: string) => openIn(context, url, file),
    so: () => said,
    frames: () => frames,
    received: (text: string) => until(() => frames.some((frame) => frame.includes(text))),
    until: (expression: string) => page.waitForFunction(expression)
  }
}

export function listen (t: Test, url: string, names = ['hello', 'realtime:snapshot', 'stock']) {
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

export async function talk (t: Test, url: string, path = '/rooms/lobby') {
  const socket = new WebSocket(url.replace('http', 'ws') + path)
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
export async function proxyTo (t: Test, url: string) {
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
