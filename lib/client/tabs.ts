/**
 * `sharedTabs()`: one connection for all tabs of a browser. It is an entry of its own, so that others do not load it.
 */
import { nameFor, type AnyChannel, type AnyLocks, type Browser } from './tab-posts.ts'
import { Tab } from './tab.ts'
import type { Tabs } from './wire.ts'

export type { Tabs } from './wire.ts'

/** Options of `sharedTabs()`. */
export interface SharedTabsOptions {
  /**
   * Who is signed in, not empty. Tabs of one origin with the same key and URL share a connection, so two users must
   * never have the same key. Required.
   */
  key: string
  /**
   * How long the tab that has the connection may take to answer, ms, up to 2147483647. Then it counts as frozen, and
   * another tab takes its place. Up to half as much is added at random. Default 2000.
   */
  patience?: number
  /**
   * How many frames of each topic the tab that has the connection keeps for tabs that come later, at least 1. A tab
   * that needs older ones gets them from the server by a connection of its own. Default 500.
   */
  recent?: number
}

const KNOWN: readonly string[] = ['key', 'patience', 'recent'] satisfies Array<keyof SharedTabsOptions>

/**
 * Shares one connection: `connect(url, { tabs: sharedTabs({ key: userId }) })`. If the browser has no Web Locks or no
 * BroadcastChannel, or forbids them, each tab has its own connection.
 * @throws TypeError for an unknown or wrong option
 */
export function sharedTabs (options: SharedTabsOptions): Tabs {
  return sharedBy(options, browserHere)
}

/** `browser` returns undefined if the browser cannot share. @throws TypeError */
export function sharedBy (options: SharedTabsOptions, browser: () => Browser | undefined): Tabs {
  check(options)
  const { key, patience = 2000, recent = 500 } = options
  return (url, dial, host) => {
    const found = browser()
    if (!found) return dial(host)
    return new Tab({ browser: found, name: nameFor(url, key), dial, recent, patience }, host)
  }
}

/** `options`: a page without types may give none, or other things. */
function check (options: Partial<SharedTabsOptions> = {}): void {
  const wrong = Object.keys(options).find((name) => !KNOWN.includes(name))
  if (wrong !== undefined) throw new TypeError(`sharedTabs: unknown option "${wrong}"; known: ${KNOWN.join()}`)
  const { key, patience = 1, recent = 1 } = options
  if (typeof key !== 'string' || key === '') throw new TypeError('sharedTabs: "key" must say who is signed in')
  if (!(typeof patience === 'number' && patience > 0 && patience < 2 ** 31)) {
    throw new TypeError('sharedTabs: "patience" must be a number of ms')
  }
  if (!(Number.isInteger(recent) && recent > 0)) throw new TypeError('sharedTabs: "recent" must be a number of frames')
}

/** What this uses of a page. */
interface Page {
  navigator?: { locks?: AnyLocks }
  BroadcastChannel?: new (name: string) => AnyChannel
  document?: Pick<EventTarget, 'addEventListener' | 'removeEventListener'>
  addEventListener?: EventTarget['addEventListener']
  removeEventListener?: EventTarget['removeEventListener']
}

function browserHere (): Browser | undefined {
  const page: Page = globalThis
  const { BroadcastChannel: Channel, document } = page
  try {
    const locks = page.navigator?.locks
    if (!locks || !Channel || !document) return undefined
    return { locks, channel: (name) => new Channel(name), onSleep: (run) => onSleep(page, document, run) }
  } catch {
    return undefined
  }
}

/** A page that is about to be frozen still has time to say so. */
function onSleep (page: Page, document: NonNullable<Page['document']>, run: () => void): () => void {
  document.addEventListener('freeze', run)
  page.addEventListener?.('pagehide', run)
  return () => {
    document.removeEventListener('freeze', run)
    page.removeEventListener?.('pagehide', run)
  }
}
