/** A form for each stream and channel, and the clients that were opened by them, side by side. */
import type { Description, ShownRoute } from '../shapes.ts'
import { Attempt } from './attempt.ts'
import { AttemptView } from './attempt-view.ts'
import type { Plan } from './carrier.ts'
import { copyButtons } from './copying.ts'
import { button, empty, field, fill, h } from './dom.ts'
import { formOf, linesForm, type Form } from './form.ts'
import { schemaOf } from './topics.ts'
import type { View } from './view.ts'

const MAX_CLIENTS = 8

export class Try implements View {
  readonly element: HTMLElement
  readonly #description: Description
  readonly #form = h('div')
  readonly #clients = h('div', { class: 'clients' })
  readonly #nobody = empty('No client is open. Fill in the form, and press "Open client": once, or several times.')

  constructor (description: Description) {
    this.#description = description
    const { routes } = description
    const choice = h('select', {}, ...routes.map((route, at) => h('option', { attrs: { value: at } }, titleOf(route))))
    choice.addEventListener('change', () => this.#choose(routes[Number(choice.value)]))
    this.element = routes.length === 0
      ? h('div', {}, empty('The app declares no streams and no channels.'))
      : h('div', { class: 'trying' },
        h('section', { class: 'opener' }, h('h2', {}, 'Open a client'), field('Stream or channel', choice), this.#form),
        h('section', { attrs: { 'aria-label': 'Clients' } }, h('h2', {}, 'Clients'), this.#nobody, this.#clients))
    if (routes.length > 0) this.#choose(routes[0])
  }

  #choose (route: ShownRoute | undefined): void {
    if (!route) return
    const form = new RouteForm(route, this.#description)
    fill(this.#form, form.element,
      h('div', { class: 'bar' },
        button('Open client', async () => await this.#open(route, form.plan()), { kind: 'main' }),
        ...copyButtons(() => form.plan())),
      about(route))
  }

  async #open (route: ShownRoute, plan: Plan): Promise<void> {
    if (this.#clients.childElementCount >= MAX_CLIENTS) {
      throw new Error(`At most ${MAX_CLIENTS} clients can be open here. Remove one of them first.`)
    }
    const view = new AttemptView(route, this.#description, (changed) => new Attempt(plan, changed), () => this.#count())
    this.#clients.prepend(view.element)
    this.#count()
    await view.attempt.open()
  }

  #count (): void {
    this.#nobody.hidden = this.#clients.childElementCount > 0
  }
}

function titleOf ({ kind, urls, methods }: ShownRoute): string {
  return `${kind} ${kind === 'stream' ? methods.join(', ') : ''} ${urls[0] ?? ''}`.replace(/ +/g, ' ')
}

function about ({ topics, dynamic, subscribe, source, messages }: ShownRoute): HTMLElement {
  return h('div', { class: 'about' },
    h('p', { class: 'hint' }, [
      topics.length > 0 ? `Its clients hear ${topics.join(', ')}.` : '',
      dynamic ? 'A function of the app decides which topics its clients hear.' : '',
      subscribe.length > 0 ? `Clients may join ${subscribe.join(', ')}.` : '',
      source ? 'It sends what a source yields.' : ''
    ].join(' ').trim()),
    ...Object.entries(messages).map(([name, message]) =>
      schemaOf(`message ${name}${message.relayed ? ' (relayed)' : ''}`, message)))
}

/** What is to be filled in before a client of this route can be opened. */
class RouteForm {
  readonly element: HTMLElement
  readonly #route: ShownRoute
  readonly #description: Description
  readonly #params: Form
  readonly #query: Form
  readonly #moreQuery: Form
  readonly #headers: Form
  readonly #moreHeaders: Form
  readonly #body = h('textarea', { attrs: { rows: 3, spellcheck: 'false' } })
  readonly #format = h('select', {},
    h('option', { attrs: { value: 'envelope' } }, 'fastify-realtime.v1: ids, resume, replies'),
    h('option', { attrs: { value: 'flat' } }, 'flat: plain JSON'))

  readonly #wire = h('select', {},
    h('option', { attrs: { value: 'websocket' } }, 'WebSocket'),
    h('option', { attrs: { value: 'http' } }, 'HTTP (POST requests)'))

  readonly #token = h('input', { attrs: { type: 'text', autocomplete: 'off', spellcheck: 'false' } })
  readonly #method: HTMLSelectElement

  constructor (route: ShownRoute, description: Description) {
    this.#route = route
    this.#description = description
    const { schema, kind, methods } = route
    const of = (part: string): unknown => {
      const shown = schema[part]
      return shown && 'schema' in shown ? shown.schema : undefined
    }
    const { shared } = description
    this.#method = h('select', {}, ...methods.map((method) => h('option', {}, method)))
    this.#params = formOf('URL parameters', of('params'), shared, paramsOf(route.urls[0] ?? ''))
    this.#query = formOf('Query parameters', of('querystring'), shared)
    this.#moreQuery = linesForm('Other query parameters', 'name=value, one on each line', 'since=yesterday')
    this.#headers = formOf('Headers', of('headers'), shared)
    this.#moreHeaders = linesForm('Other headers', 'name: value, one on each line', 'authorization: Bearer …')
    const stream = kind === 'stream'
    const posts = stream && methods.includes('POST')
    const headers = h('div', {}, hasFields(this.#headers) && this.#headers.element, this.#moreHeaders.element)
    const format = field('Format', this.#format)
    const token = h('small')
    const byWire = (): void => {
      headers.hidden = kind === 'channel' && !this.#overHttp
      format.hidden = this.#overHttp
      token.textContent = this.#overHttp
        ? 'It is sent as "authorization: Bearer", with the stream and with each message'
        : 'It goes into the open frame: a WebSocket of a page can send no headers'
    }
    this.#wire.addEventListener('change', byWire)
    byWire()
    this.element = h('div', { class: 'form' },
      posts && field('Method', this.#method),
      hasFields(this.#params) && this.#params.element,
      hasFields(this.#query) && this.#query.element, this.#moreQuery.element,
      !stream && route.http && field('Wire', this.#wire),
      headers,
      posts && field('Body', this.#body, 'JSON. It is sent with a POST only'),
      !stream && format,
      !stream && h('label', { class: 'field' }, h('span', {}, 'Token'), this.#token, token))
  }

  get #overHttp (): boolean { return this.#route.kind === 'channel' && this.#wire.value === 'http' }

  /** @throws Error where something is missing */
  plan (): Plan {
    const { kind, topics, subscribe, dynamic, methods } = this.#route
    const heard = dynamic ? this.#description.topics.map(({ pattern }) => pattern) : [...topics, ...subscribe]
    const events = this.#description.topics.filter(({ pattern }) => heard.includes(pattern))
      .flatMap((topic) => Object.keys(topic.events ?? {}))
    const method = kind === 'stream' && methods.length > 1 ? this.#method.value : methods[0] ?? 'GET'
    return {
      kind,
      method,
      url: this.#url(),
      headers: this.#headersNow(),
      body: method === 'POST' && this.#body.value !== '' ? JSON.parse(this.#body.value) as unknown : undefined,
      format: this.#overHttp ? 'envelope' : this.#format.value as Plan['format'],
      wire: this.#overHttp ? 'http' : 'websocket',
      token: kind === 'stream' || this.#overHttp ? '' : this.#token.value,
      patterns: heard,
      events: [...new Set(events)],
      message: undefined,
      join: []
    }
  }

  /** A WebSocket of a page sends none. A token over HTTP is one of them, unless one is given already. */
  #headersNow (): Record<string, string> {
    if (this.#route.kind === 'channel' && !this.#overHttp) return {}
    const given = Object.entries(textsOf({ ...this.#headers.value(), ...this.#moreHeaders.value() }))
    const headers = Object.fromEntries(given.map(([name, value]) => [name.toLowerCase(), value]))
    const token = this.#overHttp ? this.#token.value : ''
    return token === '' ? headers : { authorization: `Bearer ${token}`, ...headers }
  }

  #url (): string {
    const params = textsOf(this.#params.value())
    const path = (this.#route.urls[0] ?? '').split('/').map((part) => {
      if (part === '*') return (params['*'] ?? '').split('/').map(encodeURIComponent).join('/')
      return part.startsWith(':') ? encodeURIComponent(params[nameOf(part)] ?? '') : part
    }).join('/')
    const url = new URL(path, location.origin)
    for (const [name, value] of Object.entries({ ...this.#query.value(), ...this.#moreQuery.value() })) {
      url.searchParams.set(name, textOf(value))
    }
    return url.href
  }
}

function hasFields ({ element }: Form): boolean { return element.querySelector('input, select, textarea') !== null }

function paramsOf (url: string): string[] {
  return url.split('/').flatMap((part) => part === '*' ? ['*'] : part.startsWith(':') ? [nameOf(part)] : [])
}

/** Behind the name there may be a regular expression, or a `?`. */
function nameOf (part: string): string { return /^:(\w+)/.exec(part)?.[1] ?? part }

function textsOf (values: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, textOf(value)]))
}

function textOf (value: unknown): string { return typeof value === 'string' ? value : JSON.stringify(value) }
