// The subscribers of one contestant, in a process of their own. They read raw bytes and look for `"n":<number>`: each
// must hear 0, 1, 2 … of its topic, nothing twice. `"at"` is when the event was published.
import { connect } from 'node:net'

const HELLO = {
  sse: (path, id) => `GET ${path} HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n${id ? `last-event-id: ${id}\r\n` : ''}\r\n`,
  websocket: (path, protocol = '') => `GET ${path} HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n${protocol}\r\n`,
  envelope: (path) => HELLO.websocket(path, 'sec-websocket-protocol: fastify-realtime.v1\r\n'),
  'socket.io': (path) => HELLO.websocket(path)
}
/** Said once the head of the answer is there; and what must be heard before the client counts as subscribed. */
const SAYS = { envelope: '{"op":"open"}', 'socket.io': '40' }
const HEARS = { envelope: '"op":"subscribed"', 'socket.io': '40{"sid"' }
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])

/** A short text frame, masked with zeros. */
const said = (text) => Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])

let clients = []
let latencies = []
let wanted = 0
let finished = 0
let fault
let answer

class Client {
  next = 0
  id
  #rest = ''
  #state = 'head'
  #where
  #opened

  constructor (where, path, opened) {
    this.#where = where
    this.path = path
    this.dial(opened)
  }

  dial (opened) {
    const { port, wire } = this.#where
    this.#opened = opened
    this.#rest = ''
    this.#state = 'head'
    this.socket = connect(port, '127.0.0.1', () => this.socket.write(HELLO[wire](this.path, this.id)))
    this.socket.setEncoding('latin1')
    this.socket.on('error', () => {})
    this.socket.on('data', (text) => this.#read(this.#rest + text))
  }

  #read (text) {
    const { wire } = this.#where
    if (this.#state === 'head') {
      const end = text.indexOf('\r\n\r\n')
      if (end < 0) {
        this.#rest = text
        return
      }
      if (SAYS[wire]) this.socket.write(said(SAYS[wire]))
      this.#state = 'joining'
      text = text.slice(end + 4)
    }
    if (this.#state === 'joining') {
      if (HEARS[wire] && !text.includes(HEARS[wire])) {
        this.#rest = text
        return
      }
      this.#state = 'live'
      this.#opened()
    }
    // A ping is two bytes, and nothing else here has its first one: everything is ASCII.
    if (wire !== 'sse' && text.includes('\x89\x00')) this.socket.write(PONG)
    this.#events(text)
  }

  #events (text) {
    let from = 0
    for (;;) {
      const at = text.indexOf('"n":', from)
      if (at < 0) break
      let end = at + 4
      while (text.charCodeAt(end) >= 48 && text.charCodeAt(end) <= 57) end++
      if (end >= text.length || (stamped && text.indexOf('"', end + 7) < 0)) break
      const n = Number(text.slice(at + 4, end))
      if (n !== this.next) fault ??= `expected ${this.next}, got ${n}`
      this.next = n + 1
      if (stamped) latencies.push(Number(process.hrtime.bigint() - BigInt(text.slice(end + 7, text.indexOf('"', end + 7)))) / 1e6)
      from = end
    }
    if (keepIds) this.#keepId(text)
    this.#rest = text.slice(Math.max(from, text.lastIndexOf('\n', text.length - 2), text.length - 2000))
    this.check()
  }

  #keepId (text) {
    const at = text.lastIndexOf('\nid: ')
    const end = text.indexOf('\n', at + 5)
    if (at >= 0 && end > 0) this.id = text.slice(at + 5, end)
  }

  counted = false

  check () {
    if (wanted === 0 || this.next < wanted || this.counted) return
    this.counted = true
    if (++finished === clients.length) answer()
  }
}

let stamped = false
let keepIds = false

/** Resolves when so many are subscribed; a server that does not answer must not hold everything up. */
const opening = (count, open) => new Promise((resolve) => {
  let opened = 0
  const timer = setTimeout(() => {
    fault ??= `${count - opened} of ${count} clients could not subscribe`
    resolve()
  }, 20_000)
  open(() => {
    if (++opened < count) return
    clearTimeout(timer)
    resolve()
  })
})

const ops = {
  /** Clients dial in small groups: a full backlog would be measured instead. */
  async open ({ count, where, path, perTopic = 1 }) {
    for (let i = 0; i < count; i += 100) {
      if (fault) return
      const group = Math.min(100, count - i)
      await opening(group, (opened) => {
        for (let k = i; k < i + group; k++) clients.push(new Client(where, path.replace(':topic', String(Math.floor(k / perTopic))), opened))
      })
    }
  },

  note ({ latencies = false, ids = false }) {
    stamped = latencies
    keepIds = ids
  },

  /** Resolves when all have heard so many; what is missing after `ms` is lost. */
  async expect ({ count, ms = 20_000 }) {
    wanted = count
    finished = 0
    let timer
    await new Promise((resolve) => {
      answer = resolve
      timer = setTimeout(() => {
        fault ??= `${clients.filter(({ next }) => next < count).length} of ${clients.length} clients lack events`
        resolve()
      }, ms)
      for (const client of clients) client.counted = false
      for (const client of clients) client.check()
    })
    clearTimeout(timer)
    wanted = 0
  },

  latencies () {
    const sorted = Float64Array.from(latencies).sort()
    latencies = []
    return { p50: sorted[sorted.length >> 1], p99: sorted[Math.floor(sorted.length * 0.99)] }
  },

  cut () {
    for (const { socket } of clients) socket.destroy()
  },

  /** All who were cut come back at once. */
  async back () {
    await opening(clients.length, (opened) => { for (const client of clients) client.dial(opened) })
  },

  async leave () {
    await Promise.all(clients.map(({ socket }) => new Promise((resolve) => {
      socket.once('close', resolve)
      socket.destroy()
    })))
    clients = []
  }
}

process.on('message', async ({ op, ...how }) => {
  const result = await ops[op](how)
  process.send({ op, fault, ...result })
  fault = undefined
})
process.on('disconnect', () => process.exit())
