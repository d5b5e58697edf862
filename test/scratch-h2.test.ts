import { connect as tcp } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { live, listen, portOf } from './helpers/app.ts'

t.test('raw', async (t) => {
  const app = await live(t, { closeTimeout: 500 }, { http2: true })
  app.topic('a')
  app.stream('/y', { topics: 'a' })
  await listen(app)
  const socket = tcp({ port: portOf(app), host: '127.0.0.1', allowHalfOpen: true })
  await once(socket, 'connect')
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
  socket.resume()
  await once(socket, 'data')
  const since = performance.now()
  setTimeout(() => { console.log('still open'); socket.destroy() }, 5000).unref()
  await app.close()
  console.log('closed after', performance.now() - since)
  socket.destroy()
})
