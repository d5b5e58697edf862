// Many light clients in a process of their own, driven by messages from its parent. They read raw bytes and look for
// `"n":<number>`: every client must see 0, 1, 2 … and nothing twice.
import { connect } from 'node:net'

const clients = []
let wanted = 0
let done = 0

process.on('message', (message) => commands[message.do](message))
process.on('disconnect', () => process.exit())

const commands = {
  open ({ port, sse, websocket, path, first = 0 }) {
    let open = 0
    const opened = () => { if (++open === sse + websocket) process.send({ opened: open }) }
    for (let i = 0; i < sse + websocket; i++) clients.push(new Client(port, i < sse ? 'sse' : 'websocket', path, first, opened))
  },
  expect ({ count }) {
    wanted = count
    done = 0
    for (const client of clients) client.check()
  },
  stall ({ count }) {
    for (const client of clients.slice(0, count)) client.socket.pause()
    process.send({ stalled: count })
  },
  resume () {
    for (const { socket } of clients) socket.resume()
    process.send({ resumed: clients.length })
  },
  leave () {
    wanted = done = 0
    let left = 0
    const total = clients.length
    for (const { socket } of clients.splice(0)) {
      socket.once('close', () => { if (++left === total) process.send({ left }) })
      socket.destroy()
    }
  }
}

class Client {
  next
  rest = ''
  started = false
  counted = false

  constructor (port, kind, path, first, opened) {
    this.next = first
    this.kind = kind
    const upgrade = 'connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
    this.socket = connect(port, '127.0.0.1', () => this.socket.write(
      `GET ${path[kind]} HTTP/1.1\r\nhost: localhost\r\n${kind === 'sse' ? 'accept: text/event-stream\r\n' : upgrade}\r\n`))
    this.socket.setEncoding('latin1')
    this.socket.on('error', () => {})
    this.socket.on('data', (text) => {
      if (!this.started && (this.rest + text).includes(kind === 'sse' ? 'realtime:open' : '101 Switching')) {
        this.started = true
        opened()
      }
      this.read(text)
    })
  }

  read (text) {
    const all = this.rest + text
    let end = 0
    for (const match of all.matchAll(/"n":(\d+)[,}]/g)) {
      end = match.index + match[0].length
      if (Number(match[1]) !== this.next) {
        process.send({ fault: `${this.kind}: expected ${this.next}, got ${match[1]}` })
        process.exit(1)
      }
      this.next++
    }
    this.rest = all.slice(Math.max(end, all.length - 40))
    this.check()
  }

  check () {
    if (wanted === 0 || this.next < wanted || this.counted === wanted) return
    this.counted = wanted
    if (++done === clients.length) process.send({ done })
  }
}
