/** A request that never ends does not keep `app.close()`: whether the client, or the app's own handler, is why. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import realtime from '../../lib/index.ts'
import { portOf } from '../helpers/app.ts'

const SECOND_HALF = 'e":"never sent"}'

interface Hanging { what: string, url: string, body: string, length?: number, until: (house: House) => Promise<unknown> }
interface House { app: FastifyInstance, called: Promise<unknown>, requested: Promise<unknown> }

const hanging: Hanging[] = [
  { what: 'half of a message', url: '/rooms/1', body: '{"event":"say","data":{"th', length: 200, until: async ({ requested }) => await requested },
  { what: 'half of an open frame', url: '/rooms/1', body: '{"op":"op', length: 100, until: async ({ requested }) => await requested },
  { what: 'half of the body that a stream begins with', url: '/answers', body: '{"question":"wh', length: 100, until: async ({ requested }) => await requested },
  { what: 'a message whose handler never settles', url: '/rooms/1', body: '{"event":"say","data":{}}', until: async ({ called }) => await called },
  { what: 'a message without an end', url: '/rooms/1', body: `{"event":"say","data":"${SECOND_HALF}`, length: 1e6, until: async ({ requested }) => await requested }
]

async function house (t: Test): Promise<House> {
  const app = Fastify()
  let called = (): void => {}
  let requested = (): void => {}
  const house: House = {
    app,
    called: new Promise<void>((resolve) => { called = resolve }),
    requested: new Promise<void>((resolve) => { requested = resolve })
  }
  app.addHook('preParsing', async () => requested())
  await app.register(realtime, { closeTimeout: 50 })
  const room = app.topic('rooms/:id')
  app.channel('/rooms/:id', {
    http: true,
    topics: room,
    messages: {
      say: {
        handler: async () => {
          called()
          await new Promise(() => {})
        }
      }
    }
  })
  app.stream('/answers', {
    method: 'POST',
    async * source () { yield { event: 'word', data: 'Fish' } }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(async () => await app.close())
  return house
}

function post (t: Test, app: FastifyInstance, { url, body, length = body.length }: Hanging): Socket {
  const socket = connect(portOf(app), '127.0.0.1')
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  socket.write(`POST ${url} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n${body}`)
  return socket
}

for (const one of hanging) {
  t.test(`${one.what} is cut when closeTimeout is over, and the app is closed`, async (t) => {
    const own = await house(t)
    const socket = post(t, own.app, one)
    await one.until(own)
    const cut = once(socket.resume(), 'close')
    await own.app.close()
    await cut
    t.pass('it closed')
  })
}

t.test('a message that is answered in time is answered, while the app closes', async (t) => {
  const app = Fastify()
  await app.register(realtime, { closeTimeout: 5000 })
  let answer = (): void => {}
  let called = (): void => {}
  const begun = new Promise<void>((resolve) => { called = resolve })
  app.channel('/rooms', {
    http: true,
    messages: {
      say: {
        handler: async () => {
          called()
          await new Promise<void>((resolve) => { answer = resolve })
          return { done: true }
        }
      }
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = post(t, app, { what: '', url: '/rooms', body: '{"event":"say","data":{}}', until: async () => {} })
  let text = ''
  socket.on('data', (chunk) => { text += String(chunk) })
  await begun
  const closed = app.close()
  answer()
  await closed
  await once(socket, 'close')
  t.match(text, '{"done":true}')
})
