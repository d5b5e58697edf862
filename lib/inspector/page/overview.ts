/** What goes on, on all nodes. */
import type { NodeView } from '../shapes.ts'
import { ask } from './api.ts'
import { Chart } from './chart.ts'
import { h, setText, twice } from './dom.ts'
import { Table } from './table.ts'
import { count, duration, rate, shortNode } from './words.ts'
import type { View } from './view.ts'

interface Shown { node: NodeView, silent: boolean }

class Figure {
  readonly element: HTMLElement
  readonly #value = h('strong')
  readonly #more = h('p', { class: 'more' })
  readonly #chart: Chart | undefined

  constructor (label: string, charted = false) {
    this.#chart = charted ? new Chart(label) : undefined
    this.element = h('section', { class: 'figure' }, h('h3', {}, label), this.#value, this.#chart?.element, this.#more)
  }

  show (value: string, more: string, sample?: number): void {
    setText(this.#value, value)
    setText(this.#more, more)
    if (sample !== undefined) this.#chart?.add(sample)
  }
}

export class Overview implements View {
  readonly element: HTMLElement
  readonly #connections = new Figure('Connections', true)
  readonly #delivered = new Figure('Deliveries a second', true)
  readonly #published = new Figure('Publishes a second', true)
  readonly #topics = new Figure('Topics with listeners')
  readonly #resumes = new Figure('Resumes')
  readonly #resets = new Figure('Resets')
  readonly #slow = new Figure('Slow clients')
  readonly #refused = new Figure('Refused clients')
  readonly #nodes: Table<Shown>
  readonly #last = new Map<string, NodeView>()

  constructor () {
    this.#nodes = new Table<Shown>('Nodes', ({ node }) => node.node, [
      { label: 'Node', class: 'name', text: ({ node }) => shortNode(node.node) },
      { label: 'Adapter', make: (cell) => ({ node, silent }) => showState(cell, node, silent) },
      { label: 'Clients', class: 'number', text: ({ node }) => count(clientsOf(node)) },
      { label: 'Topics', class: 'number', text: ({ node }) => count(node.topics) },
      { label: 'Delivered', class: 'number', text: ({ node }) => count(node.delivered) },
      { label: 'Running for', text: ({ node }) => duration(node.uptime) },
      { label: 'Actions', class: 'acts', make: (cell, now) => { cell.append(restartOf(() => now().node.node)) } }
    ], 'No node has answered yet.')
    this.element = h('div', {},
      h('div', { class: 'figures' }, this.#connections.element, this.#delivered.element, this.#published.element),
      h('div', { class: 'figures small' }, this.#topics.element, this.#resumes.element, this.#resets.element,
        this.#slow.element, this.#refused.element),
      h('h2', {}, 'Nodes'),
      h('p', { class: 'hint' }, 'Nodes that have the inspector and share an adapter with this one. Counts start with ' +
        'the node. The inspector\'s own connections are not counted.'),
      this.#nodes.element)
  }

  async refresh (): Promise<void> {
    const { nodes, silent } = await ask('overview')
    const [delivered, published] = [this.#rate(nodes, 'delivered'), this.#rate(nodes, 'published')]
    for (const node of nodes) this.#last.set(node.node, node)
    const away = silent.flatMap((name) => this.#last.get(name) ?? [])
    for (const name of this.#last.keys()) {
      if (![...nodes, ...away].some(({ node }) => node === name)) this.#last.delete(name)
    }
    this.#show(nodes, delivered, published)
    const shown = (silent: boolean) => (node: NodeView): Shown => ({ node, silent })
    this.#nodes.show([...nodes.map(shown(false)), ...away.map(shown(true))])
  }

  #show (nodes: readonly NodeView[], delivered: number, published: number): void {
    const sum = (of: (node: NodeView) => number): number => nodes.reduce((all, node) => all + of(node), 0)
    const clients = sum(clientsOf)
    const wire = (kind: 'sse' | 'websocket' | 'process'): string => count(sum(({ connections }) => connections[kind]))
    this.#connections.show(count(clients),
      `${wire('sse')} SSE, ${wire('websocket')} WebSocket, ${wire('process')} in the process`, clients)
    this.#delivered.show(rate(delivered), `${count(sum((node) => node.delivered))} in all`, delivered)
    this.#published.show(rate(published), `${count(sum((node) => node.published))} in all`, published)
    this.#topics.show(count(sum(({ topics }) => topics)), 'a topic counts once on each node')
    this.#resumes.show(count(sum(({ recovered }) => recovered)),
      `events replayed: ${count(sum(({ replayed }) => replayed))}`)
    this.#resets.show(count(sum(({ resets }) => resets)), reasonsOf(nodes))
    this.#slow.show(count(sum(({ slowNow }) => slowNow)),
      `have bytes waiting now; ${count(sum(({ stalled }) => stalled))} stalled, ` +
      `${count(sum(({ slowClosed }) => slowClosed))} closed, ${count(sum(({ dropped }) => dropped))} events dropped`)
    this.#refused.show(count(sum(({ refused }) => refused)), 'were not let in')
  }

  /** By each node's own clock. */
  #rate (nodes: readonly NodeView[], what: 'delivered' | 'published'): number {
    return nodes.reduce((all, node) => {
      const before = this.#last.get(node.node)
      const ms = before ? node.uptime - before.uptime : 0
      return before && ms > 0 ? all + Math.max(0, node[what] - before[what]) * 1000 / ms : all
    }, 0)
  }
}

function clientsOf ({ connections: { sse, websocket, process } }: NodeView): number { return sse + websocket + process }

function reasonsOf (nodes: readonly NodeView[]): string {
  const reasons = new Map<string, number>()
  for (const { resetReasons } of nodes) {
    for (const [reason, times] of Object.entries(resetReasons)) reasons.set(reason, (reasons.get(reason) ?? 0) + times)
  }
  if (reasons.size === 0) return 'none since an inspector was opened'
  return [...reasons].map(([reason, times]) => `${count(times)} ${reason}`).join(', ')
}

function showState (cell: HTMLElement, { adapter }: NodeView, silent: boolean): void {
  setText(cell, silent ? `${adapter.name}: silent` : `${adapter.name}: ${adapter.state}`)
  cell.dataset.state = silent ? 'silent' : adapter.state
}

function restartOf (node: () => string): HTMLButtonElement {
  return twice('Simulate restart', async () => {
    const done = await ask('act', { act: 'restart', node: node() })
    if (!done) throw new Error('The node did not answer. Look at its clients, and try again.')
  }, 'The node tells all of its clients to come back, as app.close() does. It goes on running.')
}
