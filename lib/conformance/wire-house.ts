/** An app under trial, with a stream and a channel that are declared alike, and the clients that enter it. */
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import realtime from '../index.ts'
import type { CloseReason, Connection, SlowPolicy } from '../types/connection.ts'
import type { RealtimeOptions } from '../types/options.ts'
import { Arrivals } from './arrivals.ts'
import type { Checks } from './trial.ts'

/** One thing that a client of the wire has heard. */
export interface WireEvent {
  /** The event's name; `realtime:…` for the protocol's own. */
  event: string
  data: unknown
}

/** A client of the wire under test. */
export interface WireClient {
  /** Resolves with the next event of this name. Without a name: with the next one that is not the protocol's own. */
  next (event?: string): Promise<WireEvent>
  /** Resolves with the next event of this name, whose data is bytes. */
  nextBytes (event: string): Promise<Buffer>
  /** Returns everything heard so far. */
  heard (): WireEvent[]
  /** Stops reading from the socket. */
  pause (): void
  /** Reads again. */
  resume (): void
  /** Leaves as a client does that needs no more. */
  leave (): Promise<unknown>
  /** Resolves when the connection has ended. */
  readonly ended: Promise<unknown>
  /** Sends a message to the server, if the wire can. */
  send?: (event: string, data: object) => void
}

/** Options of `wireSuite()`. */
export interface WireSuiteOptions {
  /** Returns an app without the plugin. Each trial registers the plugin, listens on 127.0.0.1, and closes the app. */
  makeApp: () => FastifyInstance
  /** Opens a client at `/stream` or `/channel`, which are declared alike, with these `routes`. */
  connect: (t: Checks, app: FastifyInstance, routes: WireRoutes) => Promise<WireClient>
  /** For a wire without sockets: cuts the client that connects next, as a lost network would. */
  cutNext?: (app: FastifyInstance) => () => Promise<unknown>
  /** For a wire without sockets: how often each connection is written to, in the order in which they connected. */
  countWrites?: (t: Checks, app: FastifyInstance) => number[]
}

/** The options of a trial's stream and channel. */
export interface WireRoutes extends LiveOptions {
  topics: string | string[]
  onConnect: (connection: Connection) => Promise<void>
  onDisconnect: (connection: Connection, reason: CloseReason) => unknown
}

export interface LiveOptions {
  topics?: string | string[]
  slow?: SlowPolicy
  maxBuffered?: number
  onConnect?: (connection: Connection) => unknown
}

export interface Departure { connection: Connection, reason: CloseReason }

export interface House {
  app: FastifyInstance
  publish: (event: string, data: unknown, options?: { key?: string }) => Promise<unknown>
  departures: Arrivals<Departure>
  /** Connects a client, and waits until it listens. */
  enter: () => Promise<{ client: WireClient, connection: Connection }>
}

/** What the trials of a wire begin with. */
export interface Wire {
  open: (t: Checks, live?: LiveOptions, options?: RealtimeOptions) => Promise<House>
  connect: (t: Checks, app: FastifyInstance) => Promise<WireClient>
  cutNext: NonNullable<WireSuiteOptions['cutNext']>
  countWrites: NonNullable<WireSuiteOptions['countWrites']>
}

/** Trials by their names. */
export type WireStory = Record<string, (t: Checks, wire: Wire) => Promise<void>>

export const TOPIC = 'rooms/1'

export const connectionsOf = (app: FastifyInstance): Connection[] => app.realtime.connections()

export function wireOf (
  { makeApp, connect, cutNext = cutSocket, countWrites = countSocketWrites }: WireSuiteOptions
): Wire {
  const connectTo: Wire['connect'] = async (t, app) => await connect(t, app, routesOf.get(app) as WireRoutes)
  return {
    connect: connectTo,
    cutNext,
    countWrites,
    open: async (t, live = {}, options = {}) => await open(t, makeApp(), connectTo, live, options)
  }
}

const routesOf = new WeakMap<FastifyInstance, WireRoutes>()

function cutSocket (app: FastifyInstance): () => Promise<unknown> {
  const socket = new Promise<Socket>((resolve) => app.server.once('connection', resolve))
  return async () => (await socket).destroy()
}

function countSocketWrites (_t: Checks, app: FastifyInstance): number[] {
  const counts: number[] = []
  app.server.on('connection', (socket: Socket) => {
    const index = counts.push(0) - 1
    const write = socket.write as (...args: unknown[]) => boolean
    socket.write = (...args: unknown[]) => {
      counts[index] = (counts[index] as number) + 1
      return write.apply(socket, args)
    }
  })
  return counts
}

async function open (
  t: Checks, app: FastifyInstance, connect: Wire['connect'], live: LiveOptions, options: RealtimeOptions
): Promise<House> {
  const departures = new Arrivals<Departure>()
  t.teardown(() => app.close())
  await app.register(realtime, options)
  declare(app, live, departures)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    app,
    departures,
    enter: async () => await enter(t, app, connect),
    publish: (event, data, keys) => app.realtime.publish(TOPIC, event, data, keys)
  }
}

/** One stream and one channel, whose clients are told `ready` when they listen. */
function declare (app: FastifyInstance, live: LiveOptions, departures: Arrivals<Departure>): void {
  app.topic('rooms/:id')
  app.topic('halls/:id', { history: false })
  const routes: WireRoutes = {
    topics: TOPIC,
    ...live,
    async onConnect (connection: Connection) {
      await live.onConnect?.(connection)
      connection.send('ready', {})
    },
    onDisconnect: (connection, reason) => departures.push({ connection, reason })
  }
  routesOf.set(app, routes)
  app.stream('/stream', routes)
  app.channel('/channel', { http: true, ...routes, messages: { wave: { relay: { topic: TOPIC } } } })
}

async function enter (t: Checks, app: FastifyInstance, connect: Wire['connect']): ReturnType<House['enter']> {
  const before = new Set(connectionsOf(app))
  const client = await connect(t, app)
  await client.next('ready')
  return { client, connection: connectionsOf(app).find((one) => !before.has(one)) as Connection }
}
