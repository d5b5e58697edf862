/** What is tried, as code that does the same elsewhere: for a shell, for a page, and for a test. Pure. */

/** A stream or a channel, as it is opened. */
export interface Opening {
  kind: 'stream' | 'channel'
  method: string
  /** With the scheme and the host. */
  url: string
  /** Those of a stream, and of a channel over HTTP. A page can send none with a WebSocket. */
  headers: Record<string, string>
  /** JSON, of a stream that is opened by POST. */
  body: unknown
  format: 'flat' | 'envelope'
  /** What carries a channel. */
  wire: 'websocket' | 'http'
  /** What a WebSocket brings with its first frame; `''` for none. Over HTTP it is among the headers. */
  token: string
  /** Names of events that its topics declare. */
  events: string[]
  /** What is to be sent on a channel, if anything. */
  message: { event: string, data: unknown } | undefined
  /** Names of topics that are joined at run time. */
  join: string[]
}

export function asCurl (opening: Opening): string {
  const { kind, method, url, headers, body, wire } = opening
  if (kind === 'channel' && wire === 'http') return httpInShell(opening)
  const lines = kind === 'stream'
    ? [
        `curl -N ${quoted(url)}`,
        ...method === 'GET' ? [] : [`-X ${method}`],
        ...headerLines({ accept: 'text/event-stream', ...headers })
      ]
    // As it is written by hand: curl shows the frames as they come, in the flat format.
    : [`curl -N --http1.1 -i ${quoted(url)}`, ...headerLines({
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        ...headers
      })]
  if (kind === 'stream' && body !== undefined) {
    lines.push("-H 'content-type: application/json'", `-d ${quoted(JSON.stringify(body))}`)
  }
  return lines.join(' \\\n  ')
}

/** The stream lasts until it is ended: what is said goes by a command of its own. */
function httpInShell ({ url, headers, join, message }: Opening): string {
  const post = (start: string, accept: string, body: object): string => [
    `${start} ${quoted(url)}`,
    ...headerLines({ ...headers, accept, 'content-type': 'application/json' }),
    `-d ${quoted(JSON.stringify(body))}`
  ].join(' \\\n  ')
  const open = post('curl -N', 'text/event-stream', { op: 'open', ...join.length > 0 && { topics: join } })
  if (!message) return open
  return `${open}\n\n# The message, from another shell:\n${post('curl', 'application/json', message)}`
}

export function asBrowserCode (opening: Opening): string {
  return opening.kind === 'stream' ? streamInPage(opening) : channelInPage(opening)
}

function streamInPage ({ method, url, headers, events }: Opening): string {
  const path = text(pathOf(url))
  const names = events.length > 0 ? events : ['message']
  if (method === 'GET' && Object.keys(headers).length === 0) {
    return [
      `const source = new EventSource(${path})`,
      ...names.map((name) =>
        `source.addEventListener(${text(name)}, (event) => console.log(${text(name)}, JSON.parse(event.data)))`)
    ].join('\n')
  }
  return [
    "import { listen } from 'fastify-realtime/client'",
    '',
    `const stop = listen(${path}, {`,
    ...Object.keys(headers).length > 0 ? [`  headers: () => (${text(headers)}),`] : [],
    '  on: {',
    names.map((name) => `    ${text(name)}: ({ data }) => console.log(${text(name)}, data)`).join(',\n'),
    '  }',
    '})'
  ].join('\n')
}

function channelInPage (opening: Opening): string {
  const { url, format, wire, message, join } = opening
  const path = text(pathOf(url))
  if (format === 'flat') {
    return [
      `const socket = new WebSocket(${path})`,
      "socket.addEventListener('message', ({ data }) => console.log(JSON.parse(data)))",
      ...message
        ? [`socket.addEventListener('open', () => socket.send(JSON.stringify(${text(flat(message))})))`]
        : []
    ].join('\n')
  }
  return [
    `import { connect${wire === 'http' ? ', http' : ''} } from 'fastify-realtime/client'`,
    '',
    `const client = connect(${[path, ...clientOptionsOf(opening)].join(', ')})`,
    ...join.map((name) =>
      `client.topic(${text(name)}).on('*', ({ event, data, id }) => console.log(event, data, id))`),
    ...message
      ? [`console.log(await client.send(${text(message.event)}, ${text(message.data)}))`]
      : []
  ].join('\n')
}

function clientOptionsOf ({ wire, token, headers }: Opening): string[] {
  const options = [
    ...wire === 'http' ? ['wire: http'] : [],
    ...token !== '' ? [`token: () => ${text(token)}`] : [],
    // The client has no option for headers: a `fetch` of one's own adds them.
    ...Object.keys(headers).length > 0
      ? [`fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...${text(headers)} } })`]
      : []
  ]
  return options.length > 0 ? [`{ ${options.join(', ')} }`] : []
}

/** With the test kit, for node:test. `build` is the app's own. */
export function asTest (opening: Opening): string {
  const { kind, url, events, wire } = opening
  const path = pathOf(url)
  const kit = kind === 'stream' ? 'connectStream' : 'connectChannel'
  const awaited = events[0]
  return [
    "import test from 'node:test'",
    `import { ${kit} } from 'fastify-realtime/testing'`,
    "import { build } from './app.js'",
    '',
    `test(${text(`${kind} ${path}`)}, async (t) => {`,
    '  const app = await build()',
    '  t.after(() => app.close())',
    ...wire === 'http' ? ['  // The test kit opens channels by WebSocket: the same topics, messages and replies.'] : [],
    `  const client = await ${kit}(app, ${text(path)}, ${optionsOf(opening)})`,
    ...joinsOf(opening),
    ...sendsOf(opening),
    `  // Publish here, and wait for what comes:${awaited === undefined ? '' : ` await client.next(${text(awaited)})`}`,
    '  await client.drop()',
    '  await client.resume()',
    '})'
  ].join('\n')
}

function optionsOf ({ kind, method, headers, body, format, token }: Opening): string {
  const options = [
    't',
    ...kind === 'stream' && method !== 'GET' ? [`method: ${text(method)}`] : [],
    ...kind === 'channel' && format === 'envelope' ? ["format: 'envelope'"] : [],
    ...token !== '' ? [`token: ${text(token)}`] : [],
    ...Object.keys(headers).length > 0 ? [`headers: ${text(headers)}`] : [],
    ...kind === 'stream' && body !== undefined ? [`body: ${text(body)}`] : []
  ]
  return `{ ${options.join(', ')} }`
}

function joinsOf ({ kind, format, join }: Opening): string[] {
  if (kind !== 'channel' || format !== 'envelope') return []
  return join.flatMap((topic) => [
    `  client.sendRaw(JSON.stringify({ op: 'subscribe', topic: ${text(topic)} }))`,
    "  await client.next('realtime:subscribed')"
  ])
}

function sendsOf ({ kind, format, message }: Opening): string[] {
  if (kind !== 'channel' || !message) return []
  const args = `${text(message.event)}, ${text(message.data)}`
  return [format === 'envelope' ? `  await client.request(${args})` : `  client.send(${args})`]
}

/** What a flat client says. */
export function flat ({ event, data }: { event: string, data: unknown }): Record<string, unknown> {
  return { type: event, ...(typeof data === 'object' && data !== null && !Array.isArray(data) ? data : { data }) }
}

function headerLines (headers: Record<string, string>): string[] {
  // curl leaves out a header that ends in its colon.
  return Object.entries(headers).map(([name, value]) => `-H ${quoted(value === '' ? `${name};` : `${name}: ${value}`)}`)
}

/** For a POSIX shell: nothing in it has a meaning. */
function quoted (word: string): string { return `'${word.replaceAll("'", "'\\''")}'` }

/** As JavaScript; a `<` would end a script that it is pasted into. */
function text (value: unknown): string {
  const written = JSON.stringify(value) ?? 'undefined'
  const escaped = written.replaceAll('<', '\\u003c').replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
  const plain = typeof value === 'string' && /^[^'"\\]*$/.test(written.slice(1, -1)) && escaped === written
  return plain ? `'${value}'` : escaped
}

function pathOf (url: string): string {
  const { pathname, search } = new URL(url)
  return pathname + search
}
