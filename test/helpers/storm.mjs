// Clients by the thousand in a process of their own, driven by messages from its parent. Each reads its wire to the byte,
// checks every event of every topic against the one before, and comes back with its cursor, at once, whenever it is cut.
import { connect } from 'node:net'

const MAX_OPENINGS = 20
const UPGRADE = 'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
  'sec-websocket-protocol: fastify-realtime.v1\r\n'

/** The kernel's queue for new connections is short, and whoever finds it full tries again only a second later. */
const MAX_DIALLING = 250

const clients = []
const toDial = []
let dialling = 0
/** What the parent waits for: a test of one client, and what to say when all pass. */
let goal

process.on('message', (message) => commands[message.do](message))
process.on('disconnect', () => process.exit())

const commands = {
  /** `groups`: `{ kind, path, topics, count }` each. Their first events bear the number `first`. */
  open ({ port, address, groups, first }) {
    for (const { kind, path, topics, count } of groups) {
      for (let i = 0; i < count; i++) clients.push(new Client({ port, localAddress: address, kind, path, topics, first }))
    }
    mix(clients)
    for (const client of clients) client.connect()
    reach((client) => client.openings > 0, { opened: clients.length })
  },
  /** All at once: half of them with a reset, half with a proper end. They come back by themselves. */
  cut () {
    for (const [index, client] of clients.entries()) client.cut(index % 2 === 0)
    process.send({ cut: clients.length })
  },
  /** So many more leave, and stay away. */
  leave ({ count }) {
    const present = clients.filter((client) => !client.away).slice(0, count)
    let left = 0
    for (const client of present) {
      client.leave(() => { if (++left === present.length) process.send({ left }) })
    }
  },
  /** All who are away come back: those who left last, and know most, come first. */
  back ({ port }) {
    for (const client of clients.filter(({ away }) => away).reverse()) client.comeBack(port)
    process.send({ back: true })
  },
  /** Resolves when every client has been opened so many times. */
  openings ({ count }) {
    reach((client) => client.openings >= count, { openings: count })
  },
  /** Resolves when every client that is here has had the events before `count` of each of its topics. */
  expect ({ count }) {
    reach((client) => client.away || client.has(count), { expected: count })
  },
  /** Who is ended from now on stays away. */
  stay () {
    for (const client of clients) client.staying = !client.away
    process.send({ staying: true })
  },
  /** Resolves when all are away, with what each that was here has been told of coming back. */
  farewells () {
    const told = clients.filter(({ staying }) => staying)
    reach((client) => client.away, () => ({ farewells: told.map(({ kind, retry, bye }) => ({ kind, retry, bye })) }))
  }
}

function dialNext () {
  while (dialling < MAX_DIALLING && toDial.length > 0) {
    let waiting = true
    dialling++
    toDial.shift().dial(() => {
      if (waiting) dialling--
      waiting = false
      dialNext()
    })
  }
}

function reach (passed, answer) {
  const waiting = new Set(clients.filter((client) => !passed(client)))
  goal = (client) => {
    if (waiting.has(client) && passed(client)) waiting.delete(client)
    if (waiting.size > 0 || !goal) return
    goal = undefined
    process.send(typeof answer === 'function' ? answer() : answer)
  }
  goal(undefined)
}

function fault (client, what) {
  process.send({ fault: `${client.kind} ${client.path}, opening ${client.openings}: ${what}` }, () => process.exit(1))
}

class Client {
  away = true
  /** Stays away when it is ended. */
  staying = false
  openings = 0
  cursor
  /** When to come back (ms), from the server's last words; and all of them, on a channel. */
  retry
  bye

  constructor ({ port, localAddress, kind, path, topics, first }) {
    this.target = { port, host: '127.0.0.1', ...(localAddress ? { localAddress } : {}) }
    this.kind = kind
    this.path = path
    this.next = new Map(topics.map((topic) => [topic, first]))
    if (kind === 'websocket') this.cursor = {}
  }

  connect () {
    if (this.openings >= MAX_OPENINGS) return fault(this, 'was cut again and again')
    this.away = false
    toDial.push(this)
    dialNext()
  }

  comeBack (port) {
    this.target.port = port
    this.staying = false
    this.connect()
  }

  dial (answered) {
    this.read = this.readHead
    this.text = ''
    this.body = ''
    this.subscribed = 0
    this.sent = this.kind === 'sse' ? this.cursor : { ...this.cursor }
    const sse = this.kind === 'sse'
    const resume = sse && this.cursor !== undefined ? `last-event-id: ${this.cursor}\r\n` : ''
    this.answered = answered
    const socket = connect(this.target, () => {
      socket.write(`GET ${this.path} HTTP/1.1\r\nhost: localhost\r\n${sse ? 'accept: text/event-stream\r\n' + resume : UPGRADE}\r\n`)
    })
    this.socket = socket
    socket.setEncoding('latin1')
    socket.on('error', (error) => { if (!['ECONNRESET', 'EPIPE'].includes(error.code)) fault(this, error.message) })
    socket.on('data', (text) => {
      if (this.socket !== socket || socket.destroyed) return
      this.text += text
      this.read()
      goal?.(this)
    })
    socket.once('close', () => {
      answered()
      this.over()
    })
  }

  cut (reset) {
    if (reset) this.socket.resetAndDestroy()
    else this.socket.destroy()
  }

  leave (left) {
    this.away = true
    this.socket.once('close', left)
    this.socket.destroy()
  }

  over () {
    if (this.away) return
    if (!this.staying) return this.connect()
    this.away = true
    goal?.(this)
  }

  has (count) {
    for (const next of this.next.values()) if (next < count) return false
    return true
  }

  opened () {
    this.openings++
  }

  event (text) {
    const { topic, n } = JSON.parse(text)
    const expected = this.next.get(topic)
    if (n !== expected) return fault(this, `expected ${topic} ${expected}, got ${text}`)
    this.next.set(topic, n + 1)
  }

  readHead () {
    const end = this.text.indexOf('\r\n\r\n')
    if (end === -1) return
    this.answered()
    const status = this.text.slice(9, 12)
    if (status !== (this.kind === 'sse' ? '200' : '101')) return fault(this, this.text)
    this.text = this.text.slice(end + 4)
    if (this.kind === 'sse') this.read = this.readChunks
    else {
      this.read = this.readFrames
      this.socket.write(masked(JSON.stringify({ op: 'open', cursors: this.cursor })))
    }
    this.read()
  }

  // --- SSE

  readChunks () {
    let at = 0
    for (;;) {
      const line = this.text.indexOf('\r\n', at)
      if (line === -1) break
      const size = parseInt(this.text.slice(at, line), 16)
      if (this.text.length < line + size + 4) break
      this.body += this.text.slice(line + 2, line + 2 + size)
      at = line + size + 4
    }
    this.text = this.text.slice(at)
    at = 0
    for (let end = this.body.indexOf('\n\n'); end !== -1; end = this.body.indexOf('\n\n', at)) {
      this.block(this.body.slice(at, end))
      at = end + 2
    }
    this.body = this.body.slice(at)
  }

  block (text) {
    const field = {}
    for (const line of text.split('\n')) {
      const colon = line.indexOf(': ')
      if (colon > 0) field[line.slice(0, colon)] = line.slice(colon + 2)
    }
    // The opening's is for a connection that is lost without a word.
    if (field.event === undefined && field.retry !== undefined) this.retry = Number(field.retry)
    if (field.event === 'realtime:open') {
      if (this.sent !== undefined && field.id !== this.sent) return fault(this, `came back with ${this.sent}, and is at ${field.id}`)
      this.opened()
    } else if (field.event === 'tick') this.event(field.data)
    else if (field.event !== undefined) return fault(this, text)
    if (field.id !== undefined) this.cursor = field.id
  }

  // --- WebSocket

  readFrames () {
    let at = 0
    for (;;) {
      if (this.text.length < at + 2) break
      const opcode = this.text.charCodeAt(at) & 15
      const length = this.text.charCodeAt(at + 1)
      const size = length < 126 ? length : length === 126 ? this.number(at + 2, 2) : this.number(at + 2, 8)
      const start = at + (length < 126 ? 2 : length === 126 ? 4 : 10)
      if (this.text.length < start + size) break
      if (opcode === 1) this.frame(this.text.slice(start, start + size))
      // The server waits for the answer.
      else if (opcode === 8) this.socket.end(masked(this.text.slice(start, start + 2), 8))
      at = start + size
    }
    this.text = this.text.slice(at)
  }

  number (at, bytes) {
    let value = 0
    for (let i = 0; i < bytes; i++) value = value * 256 + this.text.charCodeAt(at + i)
    return value
  }

  frame (text) {
    const frame = JSON.parse(text)
    if (frame.event === 'tick') {
      if (frame.prev !== this.cursor[frame.topic]) return fault(this, `is at ${this.cursor[frame.topic]}, and got ${text}`)
      this.cursor[frame.topic] = frame.id
      this.event(JSON.stringify(frame.data))
    } else if (frame.op === 'subscribed') {
      const sent = this.sent[frame.topic]
      if (sent !== undefined && (frame.recovered !== true || frame.id !== sent)) return fault(this, `came back with ${sent}: ${text}`)
      this.cursor[frame.topic] = frame.id
      if (++this.subscribed === this.next.size) this.opened()
    } else if (frame.op === 'bye') {
      this.bye = frame
      this.retry = frame.retry
    } else if (frame.op !== 'open') fault(this, text)
  }
}

/** A client's frame, with a mask of zeros. */
function masked (text, opcode = 1) {
  const length = text.length < 126 ? [0x80 | text.length] : [0x80 | 126, text.length >> 8, text.length & 255]
  return Buffer.concat([Buffer.from([0x80 | opcode, ...length, 0, 0, 0, 0]), Buffer.from(text, 'latin1')])
}

/** So that the kinds are not served one after the other. */
function mix (list) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]]
  }
}
