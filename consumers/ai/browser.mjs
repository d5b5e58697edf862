// What the checks with a browser share: a Redis, the page's script, and tabs that tell what they show.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'

export const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** Packages that the page has instead: AI SDK 6 is what consumers/ has by its own name, since it is for Node 20 too. */
const SDKS = { 6: {}, 7: { ai: 'ai-7', '@ai-sdk/react': 'ai-sdk-react-4' } }

/** A Redis, a browser and the bundled page. */
export async function open (sdk, page = 'page.mjs') {
  const folder = mkdtempSync(join(tmpdir(), 'realtime-chat-'))
  const [redisSocket, script] = [join(folder, 'redis.sock'), join(folder, 'page.js')]
  const redis = spawn(process.env.REDIS_SERVER_BIN ?? 'redis-server', ['--port', '0', '--unixsocket', redisSocket, '--dir', folder, '--save', ''], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(redis, 'exit')
  // Also where a browser cannot be started.
  process.once('exit', () => redis.kill('SIGKILL'))
  for await (const line of createInterface({ input: redis.stdout })) if (/[Rr]eady to accept connections/.test(line)) break
  redis.stdout.resume()
  await build({
    entryPoints: [fileURLToPath(new URL(page, import.meta.url))],
    bundle: true,
    format: 'esm',
    outfile: script,
    logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
    alias: SDKS[sdk]
  })
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', args: FLAGS })
  const pid = await pidOf(browser)
  return {
    redisSocket,
    script,
    browser,
    async close () {
      await closed(browser, pid)
      redis.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

async function pidOf (browser) {
  const session = await browser.newBrowserCDPSession()
  const { processInfo } = await session.send('SystemInfo.getProcessInfo')
  await session.detach()
  return processInfo.find(({ type }) => type === 'browser').id
}

/** ms. A browser on a busy machine may hang when it closes; nothing is asked of it any more. */
const PATIENCE_MS = 15_000

async function closed (browser, pid) {
  const impatient = setTimeout(() => {
    console.log(`# Chromium (${pid}) did not close, and was killed`)
    process.kill(pid, 'SIGKILL')
  }, PATIENCE_MS)
  await browser.close()
  clearTimeout(impatient)
}

const JOIN = /\/stream$/

/** A profile of its own, whose tabs share what they keep. `join`: what a page asks first, to know whether an answer is being given. */
export async function profile (browser, join = JOIN) {
  const context = await browser.newContext()
  const tabs = new Map()
  await context.exposeBinding('tellAs', ({ page }, document, state) => tabs.get(page)?.told(document, state))
  await context.addInitScript(() => {
    const document = globalThis.documentId = Math.random()
    globalThis.tell = (state) => globalThis.tellAs(document, state)
  })
  return {
    /** `url`: with the chat's id. Resolves when the page shows it. */
    async tab (url) {
      const page = await context.newPage()
      const tab = new Tab(page, join)
      tabs.set(page, tab)
      await tab.load(url)
      return tab
    },
    close: () => context.close()
  }
}

class Tab {
  /** What the page shows now, and each status that it showed since it was loaded. */
  state
  statuses = []
  /** How often it has asked whether an answer is being given. */
  joins = 0
  #page
  #join
  /** The document that the page had when it was last loaded: what that tells late, or is answered late, is of no account. */
  #left
  /** What the page has asked since. Undefined while it is on its way to its next document. */
  #asked
  #looks = new Set()

  constructor (page, join) {
    this.#page = page
    this.#join = join
    page.on('request', (request) => {
      if (request.isNavigationRequest()) this.#asked = new Set()
      this.#asked?.add(request)
      if (join.test(request.url())) this.joins++
    })
  }

  told (document, state) {
    if (document === this.#left) return
    if (state.status !== this.state?.status) this.statuses.push(state.status)
    this.state = state
    for (const look of this.#looks) look()
  }

  async until (holds) {
    while (!this.state || !holds(this.state)) {
      await new Promise((resolve) => {
        const look = () => {
          this.#looks.delete(look)
          resolve()
        }
        this.#looks.add(look)
      })
    }
    return this.state
  }

  /** Resolves when it has asked whether an answer is being given, and was answered. */
  async load (url) {
    this.#left = await this.#page.evaluate(() => globalThis.documentId)
    this.#asked = undefined
    const asked = this.#page.waitForResponse((response) => this.#asked?.has(response.request()) && this.#join.test(response.url()))
    this.state = undefined
    this.statuses = []
    await (url ? this.#page.goto(url) : this.#page.reload())
    return (await asked).status()
  }

  ask (text) {
    return this.#page.evaluate((text) => { globalThis.ask(text) }, text)
  }

  do (what) {
    return this.#page.evaluate((what) => { globalThis.chat[what]() }, what)
  }

  /** As when a window comes back from behind others. */
  becomesVisible () {
    return this.#page.evaluate(() => { document.dispatchEvent(new Event('visibilitychange')) })
  }
}
