/** Who is connected, to any node, and what may be done to each. */
import type { Act, ConnectionRow } from '../shapes.ts'
import { ask } from './api.ts'
import { button, field, h, setText, tell, twice } from './dom.ts'
import { Table } from './table.ts'
import { bytes, duration, shortNode } from './words.ts'
import type { View } from './view.ts'

export class Connections implements View {
  readonly element: HTMLElement
  readonly #find = h('input', {
    attrs: { type: 'search', placeholder: 'identity, URL, topic, address or id', maxlength: 200 }
  })

  readonly #own = h('input', { attrs: { type: 'checkbox' } })
  readonly #note = h('p', { class: 'hint' })
  readonly #table: Table<ConnectionRow>

  constructor () {
    this.#table = new Table<ConnectionRow>('Connections', ({ node, id }) => `${node} ${id}`, [
      { label: 'Client', class: 'name', make: whoIn },
      { label: 'Wire and URL', class: 'url', text: whereOf },
      { label: 'Topics', class: 'topics', text: topicsOf },
      { label: 'Connected for', text: ({ age }) => duration(age) },
      { label: 'Last heartbeat', text: ({ beat }) => beat < 0 ? 'none yet' : `${duration(beat)} ago` },
      {
        label: 'Buffered',
        class: 'number',
        text: ({ stalled, buffered }) => stalled ? `${bytes(buffered)}, stalled` : bytes(buffered)
      },
      { label: 'Node', text: ({ node }) => shortNode(node) },
      { label: 'Actions', class: 'acts', make: actsIn }
    ], 'No client is connected.')
    this.#find.addEventListener('input', () => { this.refresh().catch(tell) })
    this.#own.addEventListener('change', () => { this.refresh().catch(tell) })
    this.element = h('div', {},
      h('div', { class: 'bar' },
        field('Search', this.#find),
        h('label', { class: 'check' }, this.#own, 'Show the inspector\'s own connections')),
      this.#note, this.#table.element)
  }

  async refresh (): Promise<void> {
    const find = this.#find.value
    const { rows, cut, silent } = await ask('connections', { find })
    if (find !== this.#find.value) return
    const shown = rows.filter(({ own }) => this.#own.checked || !own)
    setText(this.#note, noteOf(cut, silent))
    this.#table.show(shown, find === ''
      ? 'No client is connected. You can open one under "Try it".'
      : `No connection matches "${find}".`)
  }
}

export function noteOf (cut: boolean, silent: readonly string[]): string {
  return [
    cut ? 'Not all are shown: search for the others.' : '',
    silent.length > 0
      ? `These nodes did not answer, so what is on them is missing: ${silent.map(shortNode).join(', ')}.`
      : ''
  ].join(' ').trim()
}

function whereOf ({ kind, url }: ConnectionRow): string {
  if (kind === 'process' && url === '') return 'the app itself'
  return `${{ sse: 'SSE', websocket: 'WebSocket', process: 'in process' }[kind]} ${url}`
}

function topicsOf ({ topics, more }: ConnectionRow): string {
  if (topics.length === 0) return 'none'
  return topics.join(', ') + (more > 0 ? ` and ${more} more` : '')
}

function whoIn (cell: HTMLElement): (row: ConnectionRow) => void {
  const [name, more] = [h('span'), h('small')]
  cell.append(name, more)
  return ({ identity, anonymous, address, id, own }) => {
    setText(name, anonymous ? 'anonymous' : identity)
    setText(more, [id.slice(0, 8), address, own ? 'inspector' : ''].filter(Boolean).join(' · '))
    cell.title = `${identity} ${id}`
  }
}

function actsIn (cell: HTMLElement, now: () => ConnectionRow): (row: ConnectionRow) => void {
  const stall = button('Stall client', async () => await act(now(), now().stalled ? 'release' : 'stall'), {
    title: 'The server holds back what is for it, until you release it'
  })
  const topic = h('select', { attrs: { 'aria-label': 'Topic to revoke' } })
  const take = button('Revoke topic', async () => {
    await ask('take', { connection: now().id, topic: topic.value })
  }, { title: 'It hears this topic no more, for as long as it is connected' })
  const buttons = [
    twice('End connection', async () => {
      await ask('end', { connection: now().id })
    }, 'The server closes it, and tells it not to come back'),
    button('Drop connection', async () => await act(now(), 'drop'), {
      title: 'The server cuts its socket without a goodbye, as a broken network does'
    }),
    button('Expire access', async () => await act(now(), 'expire'), {
      title: 'The server ends it as if its token had expired'
    }),
    stall
  ]
  const taking = h('span', { class: 'pair' }, topic, take)
  cell.append(...buttons, taking)
  return (row) => {
    setText(stall, row.stalled ? 'Release client' : 'Stall client')
    // What is of the app itself is not a client.
    const isApp = row.kind === 'process' && row.url === ''
    for (const element of buttons) element.hidden = isApp
    taking.hidden = isApp || row.topics.length === 0
    setOptions(topic, row.topics)
  }
}

function setOptions (select: HTMLSelectElement, names: readonly string[]): void {
  if (names.length === select.options.length && names.every((name, at) => select.options[at]?.value === name)) return
  select.replaceChildren(...names.map((name) => h('option', { attrs: { value: name } }, name)))
}

export async function act (row: { node: string, id: string }, what: Exclude<Act, 'restart'>): Promise<void> {
  const done = await ask('act', { act: what, node: row.node, connection: row.id })
  if (done) return
  throw new Error('The connection has ended, or its node did not answer. Look for it under "Connections".')
}
