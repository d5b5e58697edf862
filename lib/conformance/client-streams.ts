/** Native streams: how their text is read, and where a client comes back to. */
import { honest, numbers, play, refuse, type Script } from './client-script.ts'
import type { ClientWire } from './client-contract.ts'

const SSE: ClientWire[] = ['sse']
const PAUSE_MS = 300
const STREAM = { 'content-type': 'text/event-stream' }

/** Says it, waits until so much was told, and cuts. */
const saidAndCut = (text: string, told: number) => play(async (line) => {
  line.say(text)
  await line.told(told)
  await line.cut()
})

export const streams: Script = {
  'every way to end a line, comments, and fields that nobody knows': {
    wires: SSE,
    turns: [play((line) => {
      line.say('\uFEFF: hello\r\n\r\nevent: n\rid: 1\rdata: 1\r\r')
      line.say('event:n\nid:2\nnovelty: 1\ndata:2\n\n:\n\nid: 3\ndata: a\r\ndata:  b\n\n')
    })],
    saw: [...numbers(1, 2), { saw: 'event', event: 'message', id: '3', data: 'a\n b' }]
  },
  'an id alone moves the place, and an event without one leaves it': {
    wires: SSE,
    turns: [saidAndCut('id: 5\n\nevent: n\ndata: 0\n\n', 1), honest(6)],
    saw: [{ saw: 'event', event: 'n', id: '5', data: 0 }, ...numbers(6, 6)],
    places: [undefined, '5']
  },
  'a place is told before the first event': {
    wires: SSE,
    turns: [saidAndCut('retry: 10\nevent: realtime:open\nid: 7\ndata: {}\n\nevent: n\ndata: 0\n\n', 1), honest(8)],
    saw: [{ saw: 'event', event: 'n', id: '7', data: 0 }, ...numbers(8, 8)],
    places: [undefined, '7']
  },
  'the stream says when to come back': {
    wires: SSE,
    turns: [
      play(async (line) => {
        line.say(`retry: ${PAUSE_MS}\n\n`)
        line.event(1)
        await line.told(1)
        line.end()
      }),
      honest(2)
    ],
    saw: numbers(1, 2),
    places: [undefined, '1'],
    pause: PAUSE_MS
  },
  'a refusal for a while is a stream that ends at once': {
    wires: SSE,
    turns: [refuse(200, { headers: STREAM, body: 'retry: 5\n\n' }), honest(2)],
    saw: numbers(1, 2)
  },
  'a loss is told, and the stream goes on from its id': {
    wires: SSE,
    turns: [
      play(async (line) => {
        line.say('event: realtime:reset\nid: 5\ndata: {"topic":"news","reason":"expired"}\n\n')
        await line.told(1)
        await line.cut()
      }),
      honest(6)
    ],
    saw: [{ saw: 'reset', topic: 'news' }, ...numbers(6, 6)],
    places: [undefined, '5']
  },
  'a source that has said everything is over': {
    wires: SSE,
    turns: [
      play((line) => {
        line.event(1)
        line.say('event: realtime:end\nid: 1\ndata: {"reason":"done"}\n\n')
        line.end()
      }),
      refuse(204)
    ],
    spare: 1,
    saw: [...numbers(1, 1), { saw: 'over' }]
  }
}
