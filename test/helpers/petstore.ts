/** The pet store as a process of its own, and its clients. */
import type { BrowserContextOptions } from 'playwright-core'
import type { Test } from 'tap'
import { fetch } from 'undici'
import { buildApp, type PetStoreOptions } from '../../examples/petstore/app.ts'
import { launchChromium, openWindow, watchWindow, type Window } from './chromium.ts'

export type Json = Record<string, unknown>

export const browser = await launchChromium()

export const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64')

export async function startShop (t: Test, options: PetStoreOptions = {}) {
  const app = await buildApp(options)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const windows: Window[] = []

  async function send (method: string, path: string, body?: Json): Promise<{ status: number, body: Json }> {
    const response = await fetch(url + path, {
      method,
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    })
    return { status: response.status, body: await response.json() as Json }
  }

  const pageOf = (userId: string) => `${url}/?userId=${encodeURIComponent(userId)}`

  async function open (userId: string, options: BrowserContextOptions = {}): Promise<Window> {
    const window = await openWindow(browser, pageOf(userId), options)
    t.teardown(window.close)
    return await settled(window)
  }

  /** Another window of the same browser profile. */
  async function openBeside ({ page }: Window, userId: string): Promise<Window> {
    return await settled(await watchWindow(await page.context().newPage(), pageOf(userId)))
  }

  async function settled (window: Window): Promise<Window> {
    windows.push(window)
    for (const panel of ['notifications', 'inventory', 'auction', 'support', 'dashboard']) await wire(window, panel, 'live')
    await window.page.locator('#pet-list li').first().waitFor()
    return window
  }

  const consolesAreEmpty = () => t.same(windows.flatMap(({ complaints }) => complaints), [], 'no console has a complaint')

  /** How many event streams are open. */
  const streams = () => app.realtime.connections().filter(({ kind }) => kind === 'sse').length

  return { app, url, send, open, openBeside, streams, consolesAreEmpty }
}

export const wire = ({ page }: Window, panel: string, state: string) =>
  page.locator(`#${panel} .wire[data-state="${state}"]`).waitFor({ state: 'attached' })

/** What came, and a way to wait for what has not. */
export function inbox<T> () {
  const all: T[] = []
  const waiting = new Set<() => void>()
  return {
    all,
    push (item: T) {
      all.push(item)
      for (const look of waiting) look()
    },
    find (wanted: (item: T) => boolean): Promise<T> {
      return new Promise(resolve => {
        const look = () => {
          const found = all.find(wanted)
          if (found === undefined) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        look()
      })
    }
  }
}

export interface Sse { event: string, data: string, id: string }

/** Reads an event stream by hand. */
export function parser (push: (event: Sse) => void) {
  let rest = ''
  return (chunk: string) => {
    const blocks = (rest + chunk).split('\n\n')
    rest = blocks.pop()!
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(block)?.[1]
      if (field('data') !== undefined) push({ event: field('event') ?? 'message', data: field('data')!, id: field('id') ?? '' })
    }
  }
}
