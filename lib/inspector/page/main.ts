/** The page: its tabs, its connection, and a look at what is shown once in a while. */
import type { Acted } from '../shapes.ts'
import { ask, watchActs, watchLink } from './api.ts'
import { Connections } from './connections.ts'
import { empty, fill, h, setText, tell } from './dom.ts'
import { Overview } from './overview.ts'
import { Topics } from './topics.ts'
import { Try } from './try.ts'
import { shortNode } from './words.ts'
import type { View } from './view.ts'

const EVERY_MS = 1000

const main = document.getElementById('main') as HTMLElement
const link = document.getElementById('link') as HTMLElement
const tabs = document.getElementById('tabs') as HTMLElement

const titles = { overview: 'Overview', topics: 'Topics', connections: 'Connections', try: 'Try it' }
type Name = keyof typeof titles

async function start (): Promise<void> {
  watchLink((state, code) => showLink(state, code))
  const description = await ask('describe')
  watchActs((acted) => tell(wordsOf(acted), 'done'))
  const views: Record<Name, View> = {
    overview: new Overview(), topics: new Topics(description), connections: new Connections(), try: new Try(description)
  }
  addEventListener('hashchange', () => show(views))
  show(views)
  look(views).catch(tell)
}

/** Whoever has done it: several people may look. */
function wordsOf ({ act, connection, node, topic }: Acted): string {
  const whom = `connection ${connection.slice(0, 8)}`
  switch (act) {
    case 'drop': return `An inspector dropped ${whom}.`
    case 'expire': return `An inspector ended ${whom}, as if its token had expired.`
    case 'stall': return `An inspector stalled ${whom}: the server holds back what is for it.`
    case 'release': return `An inspector released ${whom}: it gets what was held back.`
    case 'restart': return `An inspector told all clients of node ${shortNode(node)} to come back.`
    case 'end': return `An inspector ended ${whom}: it is not to come back.`
    case 'take': return `An inspector revoked the topic ${topic} from ${whom}.`
  }
}

function nameNow (): Name {
  const name = location.hash.slice(1)
  return name in titles ? name as Name : 'overview'
}

function show (views: Record<Name, View>): void {
  const name = nameNow()
  fill(tabs, ...Object.entries(titles).map(([each, title]) => h('li', {}, h('a', {
    attrs: { href: `#${each}`, 'aria-current': each === name ? 'page' : undefined }
  }, title))))
  document.title = `${titles[name]}: realtime inspector`
  fill(main, h('h2', { class: 'hidden' }, titles[name]), views[name].element)
  views[name].refresh?.().catch(failed)
}

/** Nothing is asked while nobody looks. */
async function look (views: Record<Name, View>): Promise<void> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS))
    if (document.hidden) continue
    try {
      // The charts go on, whichever tab is shown.
      await views.overview.refresh?.()
      const name = nameNow()
      if (name !== 'overview') await views[name].refresh?.()
    } catch (error) {
      failed(error)
    }
  }
}

let lastFault = ''

/** Once for each, and not once a second. */
function failed (error: unknown): void {
  if (link.dataset.state !== 'open') return
  const text = error instanceof Error ? error.message : String(error)
  if (text !== lastFault) tell(text)
  lastFault = text
}

function showLink (state: 'open' | 'away' | 'refused', code: string): void {
  setText(link, { open: 'connected', away: 'connecting …', refused: `the server refused this page: ${code}` }[state])
  link.dataset.state = state
  if (state !== 'open') return
  lastFault = ''
  ask('describe').then(({ here }) => setText(link, `connected to ${shortNode(here)}`)).catch(() => {})
}

start().catch((error: unknown) => {
  const why = error instanceof Error ? error.message : String(error)
  fill(main, empty(`The inspector could not start: ${why}. Reload the page.`))
})
