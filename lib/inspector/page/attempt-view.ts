/** One client that is tried: its buttons, what it was told, and what is wrong with it. */
import type { ConnectionRow, Description, ShownRoute } from '../shapes.ts'
import { ask } from './api.ts'
import type { Attempt, Entry } from './attempt.ts'
import type { Plan } from './carrier.ts'
import { act } from './connections.ts'
import { copyButtons } from './copying.ts'
import { button, field, fill, h, json, setText, twice } from './dom.ts'
import { jsonForm } from './form.ts'
import { clock, shortNode } from './words.ts'

export class AttemptView {
  readonly element: HTMLElement
  readonly attempt: Attempt
  readonly #route: ShownRoute
  readonly #description: Description
  readonly #state = h('span', { class: 'tag state' })
  readonly #where = h('p', { class: 'hint' })
  readonly #report = h('p', { class: 'report', attrs: { role: 'status' } })
  readonly #list = h('ol', { class: 'events log', attrs: { tabindex: 0, 'aria-label': 'What was sent and received' } })
  readonly #rows = new Map<Entry, HTMLElement>()
  readonly #raw = h('input', { attrs: { type: 'checkbox' } })
  readonly #only: { live: HTMLButtonElement[], cut: HTMLButtonElement[] }
  readonly #stall: HTMLButtonElement
  #drawing = false

  constructor (
    route: ShownRoute, description: Description, make: (changed: () => void) => Attempt, gone: () => void
  ) {
    this.#route = route
    this.#description = description
    this.attempt = make(() => this.#drawSoon())
    const { plan } = this.attempt
    this.#stall = button('Stall client', async () => await this.#toggleStall(), {
      title: 'The server holds back what is for it, so that you see what a slow client gets'
    })
    this.#only = { live: this.#faults(), cut: this.#ways() }
    const remove = button('Remove client', () => {
      this.attempt.leave()
      this.element.remove()
      gone()
    })
    this.#raw.addEventListener('change', () => this.#redraw())
    const address = new URL(plan.url)
    this.element = h('article', { class: 'client', attrs: { 'aria-label': `${route.kind} ${address.pathname}` } },
      h('header', {}, h('h3', {}, `${address.pathname}${address.search}`),
        h('span', { class: 'tags' }, h('span', { class: 'tag' }, wireOf(plan)), this.#state)), this.#where,
      h('div', { class: 'bar' }, ...this.#only.live, ...this.#only.cut, remove),
      this.#report,
      ...route.kind === 'channel' ? [this.#sender()] : [],
      h('div', { class: 'bar' }, h('label', { class: 'check' }, this.#raw, 'Show raw frames'),
        button('Clear list', () => this.#clear()), ...copyButtons(() => plan, 'quiet')),
      this.#list)
    this.#draw()
  }

  // --- what it does ---------------------------------------------------------------------------

  /** While it is open. */
  #faults (): HTMLButtonElement[] {
    return [
      button('Drop connection', async () => await this.#act('drop'), {
        title: 'The server cuts its socket without a goodbye, as a broken network does'
      }),
      this.#stall,
      button('Expire access', async () => await this.#act('expire'), {
        title: 'The server ends it as if its token had expired'
      }),
      twice('Simulate restart', async () => await this.#restart(),
        'Its node tells all of its clients to come back, as app.close() does. The node goes on running.')
    ]
  }

  /** Back, while it is not. */
  #ways (): HTMLButtonElement[] {
    return [
      button('Resume client', async () => await this.attempt.open(true), {
        kind: 'main', title: 'Opens it again, from the last event that it had'
      }),
      button('Open as new client', async () => await this.attempt.open(), {
        title: 'Opens it again, as if it had never been there'
      })
    ]
  }

  async #act (what: 'drop' | 'expire' | 'stall' | 'release'): Promise<void> {
    const { here } = this.attempt
    if (!here) throw new Error('The server has not said yet which connection this is. Try again in a second.')
    await act(here, what)
    const done = { drop: 'dropped', expire: 'access expired', stall: 'stalled', release: 'released' }
    this.attempt.note(done[what], 'by this page')
  }

  async #toggleStall (): Promise<void> {
    await this.#act(this.attempt.stalled ? 'release' : 'stall')
    this.attempt.stalled = !this.attempt.stalled
    this.#draw()
  }

  async #restart (): Promise<void> {
    const { here } = this.attempt
    if (!here) throw new Error('The server has not said yet which node this is. Try again in a second.')
    await ask('act', { act: 'restart', node: here.node })
    this.attempt.note('restart simulated', 'by this page')
  }

  #clear (): void {
    this.attempt.entries.length = 0
    this.#redraw()
  }

  /** A form for each message, and one to join a topic. */
  #sender (): HTMLElement {
    const { messages, subscribe } = this.#route
    const names = Object.keys(messages)
    const place = h('div')
    const choice = h('select', {}, ...names.map((name) => h('option', {}, name)))
    const choose = (): void => {
      const name = choice.value
      const message = messages[name]
      const schema = message && 'schema' in message ? message.schema : undefined
      const form = jsonForm('Data', schema, this.#description.shared)
      fill(place, form.element, button('Send message', () => this.#send(name, form.value()), { kind: 'main' }))
    }
    choice.addEventListener('change', choose)
    if (names.length > 0) choose()
    const topic = h('input', { attrs: { type: 'text', placeholder: subscribe.join(', '), spellcheck: 'false' } })
    const title = subscribe.length > 0 ? 'Send a message, join a topic' : 'Send a message'
    return h('details', { class: 'sender' }, h('summary', {}, title),
      names.length > 0
        ? field('Message', choice)
        : h('p', { class: 'hint' }, 'This channel takes no messages from clients.'),
      place,
      subscribe.length > 0 && this.attempt.plan.format === 'envelope' &&
        h('div', { class: 'bar' }, field('Topic to join', topic),
          button('Join topic', () => this.attempt.join(topic.value))))
  }

  #send (event: string, data: unknown): void {
    this.attempt.plan.message = { event, data }
    this.attempt.send(event, data)
  }

  // --- what is seen of it -----------------------------------------------------------------------

  /** Once for all that comes at one time. */
  #drawSoon (): void {
    if (this.#drawing) return
    this.#drawing = true
    requestAnimationFrame(() => {
      this.#drawing = false
      this.#draw()
    })
  }

  #draw (): void {
    const { state, here, stalled, report, entries } = this.attempt
    setText(this.#state, stalled ? 'stalled' : state)
    this.#state.dataset.state = stalled ? 'stalled' : state
    const sought = state === 'open' ? 'Asking the nodes which connection this is …' : 'Not connected.'
    setText(this.#where, here ? placeOf(here) : sought)
    setText(this.#stall, stalled ? 'Release client' : 'Stall client')
    for (const element of this.#only.live) element.hidden = state !== 'open'
    for (const element of this.#only.cut) element.hidden = state === 'open' || state === 'connecting'
    this.#drawReport(report.words)
    for (const [entry, row] of this.#rows) if (!entries.includes(entry)) this.#forget(entry, row)
    for (const entry of entries) this.#drawEntry(entry)
  }

  #drawReport (words: { text: string, fine: boolean } | undefined): void {
    this.#report.hidden = words === undefined
    setText(this.#report, words?.text ?? '')
    this.#report.dataset.fine = String(words?.fine)
  }

  #forget (entry: Entry, row: HTMLElement): void {
    row.remove()
    this.#rows.delete(entry)
  }

  #redraw (): void {
    for (const [entry, row] of this.#rows) this.#forget(entry, row)
    this.#draw()
  }

  #drawEntry (entry: Entry): void {
    const row = this.#rows.get(entry) ?? this.#row(entry)
    const { kind, replayed, again, fault } = entry
    row.dataset.kind = kind
    const marks = row.querySelector('.marks')
    const said = [
      ...replayed ? [['replayed', 'replayed']] : [],
      ...again ? [['twice', 'received twice']] : [],
      ...fault === null ? [['fits', 'fits its schema']] : [],
      ...typeof fault === 'string' ? [['fault', `does not fit its schema: ${fault}`]] : []
    ]
    if (!marks || marks.childElementCount === said.length) return
    fill(marks, ...said.map(([mark, text]) => h('span', { class: 'tag', attrs: { 'data-mark': mark } }, text)))
  }

  /** The newest first. */
  #row (entry: Entry): HTMLElement {
    const { name, topic, id, data, raw, kind, at } = entry
    const arrow = { in: '←', frame: '←', out: '→', note: '•' }[kind]
    const told = typeof data === 'string' && (data === '' || kind === 'note') ? data : json(data)
    const shown = this.#raw.checked && raw !== '' ? raw : told
    const row = h('li', {},
      h('div', { class: 'head' },
        h('span', { class: 'arrow', attrs: { 'aria-hidden': 'true' } }, arrow), h('strong', {}, name),
        topic !== '' && h('small', {}, topic), h('time', {}, clock(at)), h('span', { class: 'marks' })),
      id !== '' && h('small', { class: 'id' }, id),
      shown !== '' && h('pre', { attrs: { tabindex: 0 } }, shown))
    this.#rows.set(entry, row)
    this.#list.prepend(row)
    return row
  }
}

function wireOf ({ kind, wire }: Plan): string {
  if (kind === 'stream') return 'SSE'
  return wire === 'http' ? 'HTTP' : 'WebSocket'
}

function placeOf ({ id, node, anonymous, identity }: ConnectionRow): string {
  return `Connection ${id.slice(0, 8)} on node ${shortNode(node)}${anonymous ? '' : `, as ${identity}`}`
}
