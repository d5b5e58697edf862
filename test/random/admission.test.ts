/**
 * Clients that come, wait at every door, are refused, are closed, do not read, leave and crash, in any order, on both
 * wires; and a model that says how many the app holds, and whom it lets in. A failure prints its seed.
 */
import type { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Connection } from '../../lib/index.ts'
import { linkTo, type Link } from '../../lib/testing/link.ts'
import { gate, HANDSHAKE, live } from '../helpers/app.ts'
import { Random, seedOf } from './random.ts'

const SCHEDULES = Number(process.env.SCHEDULES ?? 25)
const STEPS = 60
const MAX = { maxConnections: 7, maxConnectionsPerAddress: 4, maxConnectionsPerIdentity: 2 }
/** And which of them are one. */
const ADDRESSES = { '203.0.113.1': 1, '::ffff:203.0.113.1': 1, '10.0.0.7': 2, '2001:db8::1': 3, '2001:db8::ff:2': 3, '2001:db8:0:1::1': 4 } as const
const USERS = ['ada', 'ben', '']
/** More than the pipe to a client that does not read takes. */
const BLOB = 'x'.repeat(200_000)
/** Turns that a state may take to come about. A schedule that is right needs a few hundred. */
const PATIENCE = 100_000

type Answer = 'yes' | 'no' | 'throw'
type State = 'refused' | 'authorizing' | 'connecting' | 'in' | 'closing' | 'gone'

class Client {
  readonly n: string
  readonly kind: 'stream' | 'channel'
  readonly address: keyof typeof ADDRESSES
  readonly user: string
  readonly authorize = gate<Answer>()
  readonly connect = gate<Answer>()
  state: State = 'gone'
  /** Counted for its identity. */
  known = false
  left = false
  stuffed = false
  /** There was no place for it. */
  turnedAway = false
  /** The app was asked about it. */
  asked = false
  /** The app's end of it. */
  peer: Duplex | undefined
  connection: Connection | undefined
  story = ''
  #socket: Duplex | undefined

  constructor (n: number, random: Random) {
    this.n = String(n)
    this.kind = random.pick(['stream', 'channel'])
    this.address = random.pick(Object.keys(ADDRESSES) as Array<keyof typeof ADDRESSES>)
    this.user = random.pick(USERS)
  }

  ask (link: Link): void {
    const headers = { host: 'localhost', 'x-forwarded-for': this.address, 'x-n': this.n, 'x-user': this.user, ...(this.kind === 'channel' ? HANDSHAKE : {}) }
    this.#socket = link.open()
    this.#socket.on('error', () => {})
    this.#socket.on('data', () => {})
    this.#socket.write(`GET /${this.kind} HTTP/1.1\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
  }

  leave (): void {
    this.left = true
    this.#socket?.destroy()
  }

  read (): void {
    this.#socket?.resume()
  }

  stuff (): void {
    this.#socket?.pause()
    this.connection?.send('blob', BLOB)
  }

  /** Does it hold a place? Who has left holds one for as long as the app is busy with it. */
  get held (): boolean {
    return this.state === 'authorizing' || this.state === 'connecting' || ((this.state === 'in' || this.state === 'closing') && !this.left)
  }
}

class World {
  readonly random: Random
  readonly story: string[] = []
  readonly all: Client[] = []
  #app!: FastifyInstance
  #link!: Link

  constructor (seed: number) {
    this.random = new Random(seed)
  }

  async start (t: Test): Promise<void> {
    this.#app = await live(t, {
      ...MAX,
      leaveTimeout: 300_000,
      joinTimeout: 300_000,
      identify: ({ headers }) => headers['x-user'] ? { id: String(headers['x-user']) } : undefined
    }, { trustProxy: true })
    const app = this.#app
    const answer = async (request: FastifyRequest, door: 'authorize' | 'connect'): Promise<boolean> => {
      const client = this.#of(request)
      client.asked = true
      client.peer = request.raw.socket
      const given = await client[door].passed
      if (given === 'throw') throw new Error('no')
      return given === 'yes'
    }
    const topic = app.topic('news', { authorize: async (request) => await answer(request, 'authorize') })
    const onConnect = async (connection: Connection, request: FastifyRequest): Promise<void> => {
      this.#of(request).connection = connection
      if (!await answer(request, 'connect')) throw Object.assign(new Error('no'), { statusCode: 403 })
    }
    app.stream('/stream', { topics: topic, onConnect })
    app.channel('/channel', { topics: topic, onConnect })
    this.#link = await linkTo(app)
  }

  #of ({ headers }: FastifyRequest): Client {
    return this.all[Number(headers['x-n'])] as Client
  }

  get held (): Client[] { return this.all.filter(({ held }) => held) }

  /** One thing that may happen now. */
  step (): void {
    const client = this.random.chance(0.35) ? undefined : this.random.pick([...this.all.filter(({ state, left }) => !left || state === 'authorizing' || state === 'connecting'), undefined])
    if (!client) return this.#come()
    if (!client.left && this.random.chance(0.2)) return this.#leave(client)
    if (client.state === 'authorizing') this.#answer(client, this.random.pick(['yes', 'yes', 'yes', 'no', 'throw']))
    else if (client.state === 'connecting') this.#letIn(client, this.random.pick(['yes', 'yes', 'yes', 'no', 'throw']))
    else if (client.state === 'in' && !client.stuffed && client.kind === 'stream' && this.random.chance(0.4)) this.#stuff(client)
    else if (client.state === 'in') this.#close(client)
    else if (client.state === 'closing' && client.kind === 'stream') this.#read(client)
  }

  #come (): void {
    const client = new Client(this.all.length, this.random)
    const sameAddress = this.held.filter(({ address }) => ADDRESSES[address] === ADDRESSES[client.address]).length
    const free = this.held.length < MAX.maxConnections && sameAddress < MAX.maxConnectionsPerAddress
    this.all.push(client)
    client.state = free ? 'authorizing' : 'refused'
    client.turnedAway = !free
    this.#tell(client, `comes as "${client.user}" from ${client.address}: ${client.state}`)
    client.ask(this.#link)
  }

  #leave (client: Client): void {
    client.leave()
    this.#tell(client, `leaves while ${client.state}`)
  }

  #answer (client: Client, given: Answer): void {
    const free = client.user === '' || this.held.filter((other) => other.known && other.user === client.user).length < MAX.maxConnectionsPerIdentity
    client.state = given !== 'yes' || !free ? 'refused' : client.left ? 'gone' : 'connecting'
    client.known = client.state === 'connecting'
    client.turnedAway = given === 'yes' && !free
    this.#tell(client, `authorize says ${given}: ${client.state}`)
    client.authorize.open(given)
  }

  #letIn (client: Client, given: Answer): void {
    // A channel is open by then: it is closed, and its client does not say goodbye.
    client.state = given === 'yes' ? 'in' : client.kind === 'channel' ? 'closing' : 'refused'
    this.#tell(client, `onConnect says ${given}: ${client.state}`)
    client.connect.open(given)
  }

  #stuff (client: Client): void {
    client.stuffed = true
    this.#tell(client, 'does not read')
    client.stuff()
  }

  #close (client: Client): void {
    client.state = client.kind === 'channel' || client.stuffed ? 'closing' : 'gone'
    this.#tell(client, `is closed: ${client.state}`)
    client.connection?.close()
  }

  #read (client: Client): void {
    client.state = 'gone'
    this.#tell(client, 'reads again')
    client.read()
  }

  #tell (client: Client, what: string): void {
    client.story += what
    this.story.push(`${client.kind} ${client.n} ${what}`)
  }

  /** Resolves when the app counts what the model counts; rejects where it never does. */
  async agree (): Promise<void> {
    for (let turn = 0; turn < PATIENCE; turn++) {
      if (this.#difference() === undefined) return
      await new Promise(setImmediate)
    }
    throw new Error(`${this.#difference()}\n${this.story.join('\n')}`)
  }

  #difference (): string | undefined {
    const { connections, arriving, closing, refused } = this.#app.realtime.stats()
    const here = connections.sse + connections.websocket + arriving + closing
    const leaving = this.all.filter(({ state, left }) => state === 'closing' && !left).length
    const away = this.all.filter(({ turnedAway }) => turnedAway).length
    if (here !== this.held.length) return `${here} are held, not ${this.held.length}`
    if (closing !== leaving) return `${closing} are closing, not ${leaving}`
    if (refused !== away) return `${refused} found no place, not ${away}`
    const unasked = this.all.find(({ state, asked, connection }) => (state === 'authorizing' && !asked) || (state === 'connecting' && !connection))
    if (unasked) return `${unasked.kind} ${unasked.n} was not asked about`
    // What happens to it next is to happen to a connection, and not to one that is about to be.
    const beginning = this.all.find(({ state, left, connection }) => state === 'in' && !left && connection?.topics.length === 0)
    if (beginning) return `${beginning.kind} ${beginning.n} has not begun`
    const unnoticed = this.all.find(({ left, peer }) => left && peer?.closed === false)
    return unnoticed && `${unnoticed.kind} ${unnoticed.n} has left unnoticed`
  }

  /** Everybody is answered and leaves. */
  async end (): Promise<void> {
    for (const client of this.all) {
      client.authorize.open('no')
      client.connect.open('no')
      if (client.state === 'authorizing' || client.state === 'connecting') client.state = 'refused'
      client.leave()
    }
    await this.agree()
  }
}

t.test('whatever clients do, the app holds as many as the model says, and nobody is left at the end', async (t) => {
  const first = seedOf()
  for (let n = 0; n < SCHEDULES; n++) {
    const world = new World(first + n)
    await world.start(t)
    try {
      for (let step = 0; step < STEPS; step++) {
        world.step()
        await world.agree()
      }
      await world.end()
      // A client without a place is turned away before anybody is asked about it; one more of an identity's, after `authorize`.
      if (world.all.some(({ turnedAway, asked, story }) => turnedAway && asked !== story.includes('authorize'))) throw new Error('the app was asked in vain')
    } catch (error) {
      t.fail(`SEED=${first + n} SCHEDULES=1: ${(error as Error).message}`)
      return
    }
  }
  t.pass(`${SCHEDULES} schedules from seed ${first}`)
})
