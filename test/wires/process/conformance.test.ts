/** Subscribers within the process keep the contract that clients of a wire have. */
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t from 'tap'
import type { Checks, WireClient, WireEvent, WireRoutes } from '../../../lib/conformance/index.ts'
import { wireSuite } from '../../../lib/conformance/index.ts'
import { ProcessOutlet } from '../../../lib/wires/process/outlet.ts'
import { Inbox } from '../../conformance/clients.ts'
import { subscribeWith } from '../../helpers/process.ts'

const requests = new WeakMap<FastifyInstance, FastifyRequest>()

/** Its subscriptions are for the clients of requests: only those are accepted, refused and limited. */
function makeApp (): FastifyInstance {
  const app = Fastify()
  app.get('/request', (request) => {
    requests.set(app, request)
    return 'here'
  })
  return app
}

async function requestOf (app: FastifyInstance): Promise<FastifyRequest> {
  await app.inject('/request')
  return requests.get(app) as FastifyRequest
}

/** Who waits for the next client, to cut it. */
const cutters = new WeakMap<FastifyInstance, Array<(controller: AbortController) => void>>()

async function connect (t: Checks, app: FastifyInstance, { onConnect, onDisconnect, slow, maxBuffered }: WireRoutes): Promise<WireClient> {
  const request = await requestOf(app)
  const controller = new AbortController()
  cutters.get(app)?.shift()?.(controller)
  const subscription = subscribeWith({ onConnect, onDisconnect }, () => app.realtime.subscribe('rooms/1', {
    request, signal: controller.signal, ...(slow && { slow }), ...(maxBuffered && { maxBuffered })
  }))
  t.teardown(async () => await subscription.return())
  const inbox = new Inbox<WireEvent>()
  let gate: { wait: Promise<void>, open: () => void } | undefined
  const read = async (): Promise<void> => {
    for (;;) {
      await gate?.wait
      const { done, value } = await subscription.next()
      if (done) return
      inbox.push({ event: value.event, data: value.data })
    }
  }
  const ended = read().then(() => 'the end', (error: Error) => error.message)
  ended.then((why) => inbox.end(why), () => {})
  await subscription.ready
  const next = async (event?: string): Promise<WireEvent> =>
    await inbox.take((one) => event === undefined ? !one.event.startsWith('realtime:') : one.event === event, event)
  return {
    next,
    nextBytes: async (event) => Buffer.from((await next(event)).data as Uint8Array),
    heard: () => inbox.all,
    pause: () => {
      let open = (): void => {}
      gate = { wait: new Promise((resolve) => { open = resolve }), open }
    },
    resume: () => gate?.open(),
    leave: async () => await subscription.return(),
    ended
  }
}

function cutNext (app: FastifyInstance): () => Promise<unknown> {
  const next = new Promise<AbortController>((resolve) => cutters.set(app, [...cutters.get(app) ?? [], resolve]))
  return async () => (await next).abort()
}

function countWrites (t: Checks, app: FastifyInstance): number[] {
  const counts: number[] = []
  const indexes = new WeakMap<object, number>()
  const { write } = ProcessOutlet.prototype
  t.intercept(ProcessOutlet.prototype, 'write', {
    value: function (this: ProcessOutlet, ...args: Parameters<typeof write>) {
      const index = indexes.get(this) ?? counts.push(0) - 1
      indexes.set(this, index)
      counts[index] = (counts[index] as number) + 1
      return write.apply(this, args)
    }
  })
  return counts
}

for (const { name, run } of wireSuite({ makeApp, connect, cutNext, countWrites })) {
  t.test(`process: ${name}`, async (t) => {
    await run()
    t.pass('the contract is kept')
  })
}
