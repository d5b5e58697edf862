/** What is declared, what is heard, and what is in a topic. */
import type { Description, ShownSchema, ShownTopic, TopicRow } from '../shapes.ts'
import { ask, tail } from './api.ts'
import { noteOf } from './connections.ts'
import { button, empty, field, fill, h, json, setText, tell } from './dom.ts'
import { Table } from './table.ts'
import { bytes, clock, count, duration, many, shortNode } from './words.ts'
import type { View } from './view.ts'

interface HeardTopic { name: string, pattern: string, listeners: number, nodes: string }

const MAX_TAILED = 200

export class Topics implements View {
  readonly element: HTMLElement
  readonly #find = h('input', { attrs: { type: 'search', placeholder: 'a part of its name', maxlength: 200 } })
  readonly #note = h('p', { class: 'hint' })
  readonly #table: Table<HeardTopic>
  readonly #looked = h('section', { class: 'looked', attrs: { 'aria-live': 'off' } })
  readonly #description: Description
  #inside: Inside | undefined

  constructor (description: Description) {
    this.#description = description
    this.#table = new Table<HeardTopic>('Topics with listeners', ({ name }) => name, [
      { label: 'Topic', class: 'name', make: (cell, now) => this.#openerIn(cell, now) },
      { label: 'Declared as', class: 'url', text: ({ pattern }) => pattern },
      { label: 'Listeners', class: 'number', text: ({ listeners }) => count(listeners) },
      { label: 'Nodes', text: ({ nodes }) => nodes }
    ], 'No topic has a listener.')
    this.#find.addEventListener('input', () => { this.refresh().catch(tell) })
    this.element = h('div', { class: 'split' },
      h('div', {},
        h('h2', {}, 'Topics with listeners'),
        h('div', { class: 'bar' }, field('Search', this.#find), this.#byName()),
        this.#note, this.#table.element,
        h('h2', {}, 'Declared topics'),
        ...description.topics.length === 0 ? [empty('The app declares no topics.')] : description.topics.map(declared)),
      this.#looked)
    fill(this.#looked, empty('Choose a topic, or enter its name, to see its history, its state, its members, and ' +
      'what is published.'))
  }

  async refresh (): Promise<void> {
    const find = this.#find.value
    const { rows, cut, silent } = await ask('topics', { find })
    if (find !== this.#find.value) return
    setText(this.#note, noteOf(cut, silent))
    this.#table.show(together(rows), find === ''
      ? 'No topic has a listener.'
      : `No topic with a listener has "${find}" in its name.`)
  }

  #openerIn (cell: HTMLElement, now: () => HeardTopic): (row: HeardTopic) => void {
    const opener = button('', () => this.#look(now().name), { kind: 'link' })
    cell.append(opener)
    return ({ name }) => setText(opener, name)
  }

  /** Also one that nobody listens to. */
  #byName (): HTMLElement {
    const input = h('input', { attrs: { type: 'text', placeholder: 'full name', maxlength: 1000 } })
    const form = h('form', { class: 'bar' },
      field('Topic by name', input), h('button', { attrs: { type: 'submit' } }, 'Open topic'))
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      if (input.value !== '') this.#look(input.value)
    })
    return form
  }

  #look (name: string): void {
    this.#inside?.end()
    this.#inside = new Inside(name, this.#description)
    fill(this.#looked, this.#inside.element)
    this.#looked.scrollIntoView({ block: innerWidth > 1000 ? 'nearest' : 'start' })
  }
}

function together (rows: readonly TopicRow[]): HeardTopic[] {
  const topics = new Map<string, HeardTopic>()
  for (const { name, pattern, listeners, node } of rows) {
    const one = topics.get(name) ?? { name, pattern, listeners: 0, nodes: '' }
    one.listeners += listeners
    one.nodes += `${one.nodes && ', '}${shortNode(node)}: ${count(listeners)}`
    topics.set(name, one)
  }
  return [...topics.values()].sort((a, b) => b.listeners - a.listeners || a.name.localeCompare(b.name))
}

// --- what is declared -----------------------------------------------------------------------

function declared (topic: ShownTopic): HTMLElement {
  const { pattern, events } = topic
  const summary = h('summary', {}, h('code', {}, pattern), h('span', { class: 'tags' }, ...tagsOf(topic)))
  return h('details', {}, summary,
    h('ul', { class: 'policy' }, ...policyOf(topic).map((line) => h('li', {}, line))),
    ...events
      ? Object.entries(events).map(([name, schema]) => schemaOf(name, schema))
      : [empty('No events are declared: any event can be published, with any data.')])
}

function tagsOf ({ keyed, presence, history, snapshot }: ShownTopic): HTMLElement[] {
  return [
    history ? 'history' : 'no history', keyed && 'keyed', presence && `presence: ${presence}`, snapshot && 'snapshot'
  ].flatMap((tag) => tag ? [h('span', { class: 'tag' }, tag)] : [])
}

/** By what decides. */
const WHO: Record<string, string> = {
  'a function': 'a function of the app decides',
  anyone: 'anyone',
  token: 'whoever has a token that names it',
  'its routes': 'the hooks of its routes decide'
}

function policyOf ({ authorize, history, coalesce }: ShownTopic): string[] {
  return [
    `Who may hear it: ${WHO[authorize] ?? authorize}`,
    history
      ? `History of each topic: ${count(history.limit)} events, ${duration(history.maxAge)}, ${bytes(history.maxBytes)}`
      : 'History: none, so that nothing can be replayed',
    ...coalesce > 0 ? [`Written at most once in ${coalesce} ms`] : []
  ]
}

export function schemaOf (name: string, schema: ShownSchema): HTMLElement {
  return h('details', { class: 'schema' }, h('summary', {}, name),
    'schema' in schema
      ? h('pre', { attrs: { tabindex: 0 } }, json(schema.schema))
      : h('p', { class: 'hint' }, schema.note))
}

// --- what is in one -------------------------------------------------------------------------

class Inside {
  readonly element: HTMLElement
  readonly #name: string
  readonly #shown = h('div')
  #stop: (() => void) | undefined

  constructor (name: string, { topics }: Description) {
    this.#name = name
    const fits = topics.filter(({ pattern }) => mayBe(pattern, name))
    const has = (what: (topic: ShownTopic) => unknown): boolean => fits.length === 0 || fits.some(what)
    this.element = h('div', {}, h('h2', {}, name),
      h('div', { class: 'bar' },
        has(({ history }) => history) && button('Show history', async () => await this.#history()),
        has(({ keyed }) => keyed) && button('Show state', async () => await this.#state()),
        has(({ presence }) => presence) && button('Show members', async () => await this.#members()),
        button('Follow live', () => this.#live(), { kind: 'main' })),
      this.#shown)
    fill(this.#shown, empty('"Follow live" shows what is published from now on.'))
  }

  end (): void {
    this.#stop?.()
    this.#stop = undefined
  }

  #show (...children: HTMLElement[]): void {
    this.end()
    fill(this.#shown, ...children)
  }

  #list (said: string, nothing: string, rows: HTMLElement[]): void {
    if (rows.length === 0) this.#show(empty(nothing))
    else this.#show(h('p', { class: 'hint' }, said), h('ol', { class: 'events' }, ...rows))
  }

  async #history (): Promise<void> {
    const { events, read, newer } = await ask('history', { topic: this.#name })
    this.#list(
      shownOf(events.length, read, newer),
      'The history is empty: nothing was published, or it is not kept any more.',
      events.reverse().map(({ id, event, data, key }) => eventOf({ event, id, key, data })))
  }

  async #state (): Promise<void> {
    const { items, size, more } = await ask('state', { topic: this.#name })
    this.#list(
      more ? `The first ${count(items.length)} of ${count(size)} keys.` : `The state has ${many(size, 'key')}.`,
      'The state is empty: no key has a value.',
      items.map(({ key, event, data }) => eventOf({ event, key, data })))
  }

  async #members (): Promise<void> {
    const { members, size } = await ask('members', { topic: this.#name })
    this.#list(
      size > members.length
        ? `The first ${count(members.length)} of ${count(size)} members.`
        : `The topic has ${many(size, 'member')}.`,
      'The topic has no members now.',
      members.map(({ id, info, state }) => eventOf({ event: id, data: { info, state } })))
  }

  #live (): void {
    const list = h('ol', { class: 'events' })
    const status = h('p', { class: 'hint', attrs: { role: 'status' } }, 'connecting …')
    this.#show(status, list)
    this.#stop = tail(this.#name, ({ event, id, key, data }) => {
      list.prepend(eventOf({ event, id, key, data, at: Date.now() }))
      while (list.childElementCount > MAX_TAILED) list.lastElementChild?.remove()
    }, (state) => setText(status, state))
  }
}

/** How much of the history is shown: it is read from the oldest event on, and not without end. */
function shownOf (shown: number, read: number, newer: boolean): string {
  if (newer) {
    return `Events ${count(read - shown + 1)} to ${count(read)} of the history, counted from its oldest. It has ` +
      'newer ones, which are not read here. "Follow live" shows what is published from now on.'
  }
  if (shown === read) return `The history has ${many(read, 'event')}, the newest first.`
  return `The newest ${count(shown)} of the ${count(read)} events of the history, the newest first.`
}

/** Could this be a name of the pattern? A wrong guess only shows a button too many. */
function mayBe (pattern: string, name: string): boolean {
  const [own, given] = [pattern.split('/'), name.split('/')]
  if (own.at(-1) !== '*' && own.length !== given.length) return false
  return own.every((part, at) => part === '*' || part.startsWith(':') || part === given[at])
}

interface Told {
  event: string
  id?: string | null | undefined
  key?: string | null | undefined
  data: unknown
  at?: number
}

function eventOf ({ event, id, key, data, at }: Told): HTMLElement {
  return h('li', {},
    h('div', { class: 'head' }, h('strong', {}, event), key ? h('span', { class: 'tag' }, `key ${key}`) : false,
      at !== undefined && h('time', {}, clock(at)), id ? h('small', { class: 'id' }, id) : false),
    h('pre', { attrs: { tabindex: 0 } }, json(data)))
}
