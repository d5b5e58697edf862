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
      { label: 'Who', class: 'name', make: whoIn },
      { label: 'Where', class: 'url', text: whereOf },
      { label: 'Topics', class: 'topics', text: topicsOf },
      { label: 'For', text: ({ age }) => duration(age) },
      { label: 'Last beat', text: ({ beat }) => beat < 0 ? 'none yet' : `${duration(beat)} ago` },
      {
        label: 'Buffered',
        class: 'number',
        text: ({ stalled, buffered }) => stalled ? `${bytes(buffered)}, stalled` : bytes(buffered)
      },
      { label: 'Node', text: ({ node }) => shortNode(node) },
      { label: 'Acts', class: 'acts', make: actsIn }
    ], 'Nobody is connected.')
    this.#find.addEventListener('input', () => { this.refresh().catch(tell) })
    this.#own.addEventListener('change', () => { this.refresh().catch(tell) })
    this.element = h('div', {},
      h('div', { class: 'bar' },
        field('Search', this.#find), h('label', { class: 'check' }, this.#own, 'the inspector\'s own')),
      this.#note, this.#table.element)
  }

  async refresh (): Promise<void> {
    const find = this.#find.value
    const { rows, cut, silent } = await ask('connections', { find })
    if (find !== this.#find.value) return
    const shown = rows.filter(({ own }) => this.#own.checked || !own)
    setText(this.#note, noteOf(cut, silent))
    this.#table.show(shown, find === ''
      ? 'Nobody is connected. Open a client under "Try it".'
      : `Nobody fits "${find}".`)
  }
}

export function noteOf (cut: boolean, silent: readonly string[]): string {
  return [
    cut ? 'There are more than are shown here: search for the others.' : '',
    silent.length > 0 ? `Silent, so that theirs are missing: ${silent.map(shortNode).join(', ')}.` : ''
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
  const stall = button('Stall', async () => await act(now(), now().stalled ? 'release' : 'stall'), {
    title: 'The server stops writing to it, until it is released'
  })
  const topic = h('select', { attrs: { 'aria-label': 'Topic to take' } })
  const take = button('Take', async () => {
    await ask('take', { connection: now().id, topic: topic.value })
  }, { title: 'Takes the topic from it, for as long as it is connected' })
  const buttons = [
    twice('End', async () => {
      await ask('end', { connection: now().id })
    }, 'Closes it: it is not to come back'),
    button('Drop', async () => await act(now(), 'drop'), { title: 'Cuts its socket, without a word' }),
    button('Expire', async () => await act(now(), 'expire'), { title: 'As if what allows it had expired' }),
    stall
  ]
  const taking = h('span', { class: 'pair' }, topic, take)
  cell.append(...buttons, taking)
  return (row) => {
    setText(stall, row.stalled ? 'Release' : 'Stall')
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
  if (!done) throw new Error('It is gone, or its node has not answered.')
}
