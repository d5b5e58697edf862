import { connect } from 'node:http2'
import { once } from 'node:events'
import t from 'tap'
import { live, listen } from './helpers/app.ts'

for (const stuck of [false, true]) {
  t.test(`stuck ${stuck}`, async (t) => {
    const app = await live(t, { closeTimeout: 1000 }, { http2: true })
    app.stream('/x', { source: async function * (_r: unknown, { signal }: { signal: AbortSignal }) { yield { data: 'a' }; await new Promise((resolve) => signal.addEventListener('abort', resolve)); yield { data: 'b' } }, resumable: true } as never)
    app.stream('/y', { topics: [] as never })
    const url = await listen(app)
    const session = connect(url)
    session.on('error', () => {})
    t.teardown(() => session.destroy())
    const idle = connect(url)
    idle.on('error', () => {})
    await once(idle, 'connect')
    const stream = session.request({ ':path': '/x', accept: 'text/event-stream' })
    stream.setEncoding('utf8')
    let text = ''
    stream.on('data', (s) => { text += s })
    await once(stream, 'data')
    if (stuck) stream.pause()
    const since = performance.now()
    await app.close()
    t.comment(`closed after ${performance.now() - since}`, text)
    t.pass('closed')
  })
}
