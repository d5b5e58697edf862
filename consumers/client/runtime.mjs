// runtime.mjs <url> [ws]: connects, hears events over a cut, has a message answered, and closes. The runtime is told by how
// it is started; `ws`: the WebSocket is that of the package, and not the runtime's own. Its last line says what it heard.
import { connect } from 'fastify-realtime/client'

const [url, from] = globalThis.process.argv.slice(2)
const options = from === 'ws' ? { WebSocket: (await import('ws')).WebSocket } : {}
const rt = connect(url, { firstDelay: 20, ...options })
const states = []
rt.state.subscribe(() => states.push(rt.state.get().is))

const heard = []
const room = rt.topic('rooms/:room', { room: '1' })
for await (const { data } of room) {
  heard.push(data)
  // The server cuts when it has been asked, and publishes once more while nobody is there.
  if (data === 0) console.log(JSON.stringify(await room.send('say', 'hello')))
  if (data === 1) rt.send('cut', null).catch(() => {})
  if (data === 3) break
}
rt.close()
console.log(JSON.stringify({ heard, cuts: states.filter((is) => is === 'waiting').length, last: states.at(-1) }))
