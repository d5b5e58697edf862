/** A real browser for tests, and windows in it that fail the test on any console error. */
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core'

const flags = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'
]

export function launchChromium (): Promise<Browser> {
  return chromium.launch({ executablePath: process.env.CHROMIUM_BIN ?? '/usr/bin/chromium', args: flags })
}

export interface Window {
  page: Page
  /** What the page complained about. */
  complaints: string[]
  /** Text frames the page's WebSockets received, parsed. */
  frames: Array<Record<string, unknown>>
  close (): Promise<void>
}

/** A window of its own browser profile, so that two of them share nothing. */
export async function openWindow (browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Window> {
  const context = await browser.newContext(options)
  context.setDefaultTimeout(30_000)
  return await watchWindow(await context.newPage(), url)
}

/** A window that there is, and has not loaded anything yet. */
export async function watchWindow (page: Page, url: string): Promise<Window> {
  const complaints: string[] = []
  const frames: Window['frames'] = []
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('pageerror', error => complaints.push(String(error)))
  page.on('websocket', socket => socket.on('framereceived', ({ payload }) => {
    if (typeof payload === 'string') frames.push(JSON.parse(payload))
  }))
  await page.goto(url)
  return { page, complaints, frames, close: () => page.context().close() }
}
