/** Each event once and in order, or its loss is told: whatever the server sends, and wherever it is cut. */
import { ALL, ENVELOPE, honest, numbers, play, type Script } from './client-script.ts'

const TOPIC = 'news'
const WORDS = { text: 'é€😀 \u2028' }
const snapshot = { op: 'snapshot', topic: TOPIC, id: '5', data: { sum: 5 } }
const SNAPSHOT = { saw: 'snapshot', data: { sum: 5 } } as const
const RESET = { saw: 'reset', topic: TOPIC } as const

export const links: Script = {
  'events are told in order': { wires: ALL, turns: [honest(3)], saw: numbers(1, 3), places: [undefined] },
  'what is missing is asked for again, from the last that linked': {
    wires: ENVELOPE,
    turns: [play((line) => line.event(1, 2, 4, 5)), honest(6)],
    saw: numbers(1, 6),
    places: [undefined, '2']
  },
  'an event that comes twice is told once': {
    wires: ENVELOPE, turns: [play((line) => line.event(1, 1, 2, 2, 3))], saw: numbers(1, 3)
  },
  'an event of before is not told again': {
    wires: ENVELOPE, turns: [play((line) => line.event(1, 2, 1, 3)), honest(3)], spare: 1, saw: numbers(1, 3)
  },
  'events in the wrong order are told in the right one': {
    wires: ENVELOPE,
    turns: [play((line) => line.event(1, 3, 2)), honest(4)],
    saw: numbers(1, 4),
    places: [undefined, '1']
  },
  'each topic has a place of its own': {
    wires: ENVELOPE,
    order: { topics: [TOPIC, 'sport'] },
    turns: [
      play((line) => line.event({ n: 1 }, { n: 1, topic: 'sport' }, { n: 3 })),
      play((line) => {
        line.honest(2, 'sport')
        line.honest(3)
      })
    ],
    saw: [[TOPIC, 1], ['sport', 1], ['sport', 2], [TOPIC, 2], [TOPIC, 3]].map(
      ([topic, n]) => ({ saw: 'event', topic: String(topic), event: 'n', id: String(n), data: n })
    ),
    places: [undefined, '1']
  },
  'what never comes is told as lost, and nothing goes round in circles': {
    wires: ENVELOPE,
    turns: [play((line) => line.event(1, 3)), ...Array.from({ length: 5 }, () => play((line) => line.event(3, 4)))],
    spare: 5,
    saw: [...numbers(1, 1), RESET, ...numbers(3, 4)]
  },
  'it comes back from the last event that it was told': {
    wires: ALL,
    turns: [
      play(async (line) => {
        line.event(1, 2)
        await line.told(2)
        await line.cut()
      }),
      honest(4)
    ],
    saw: numbers(1, 4),
    places: [undefined, '2']
  },
  'half a frame is no frame': {
    wires: ALL,
    turns: [
      play(async (line) => {
        line.event(1)
        await line.told(1)
        const bytes = line.bytesOf(line.eventOf({ n: 2 }))
        // Of a native stream nothing is missing but the empty line.
        line.write(bytes.subarray(0, line.order.wire === 'sse' ? -1 : -4))
        await line.cut()
      }),
      honest(3)
    ],
    saw: numbers(1, 3),
    places: [undefined, '1']
  },
  'what cannot be read is asked for again': {
    wires: ENVELOPE,
    turns: ['{"topic":"news","event":"n","id"', 'null'].map((text) => play(async (line) => {
      line.honest(1)
      await line.told(1)
      line.say(text)
    })).concat(honest(3)),
    saw: numbers(1, 3),
    places: [undefined, '1', '1']
  },
  'frames that come byte by byte are whole': {
    wires: ALL,
    turns: [play(async (line) => {
      await line.dribble(line.bytesOf(line.eventOf({ n: 1, data: WORDS })))
      await line.dribble(line.bytesOf(line.eventOf({ n: 2 })))
    })],
    saw: [{ saw: 'event', event: 'n', id: '1', data: WORDS }, ...numbers(2, 2)]
  },
  'what it does not know it passes over': {
    wires: ENVELOPE,
    turns: [play((line) => line.say(
      { op: 'novelty', topic: TOPIC, data: 1 },
      { ...line.eventOf({ n: 1 }), novelty: true },
      { topic: 'another', event: 'n', id: '1', prev: '0', data: 1 },
      line.eventOf({ n: 2 })
    ))],
    saw: numbers(1, 2)
  },
  'bytes are told as they are': {
    wires: ENVELOPE,
    needs: 'bytes',
    turns: [play((line) => {
      const { data, ...head } = line.eventOf({ n: 1, data: 'AP8K' })
      const json = Buffer.from(JSON.stringify(head))
      const length = Buffer.alloc(4)
      length.writeUInt32BE(json.length)
      if (line.order.wire === 'http') line.say({ ...head, encoding: 'base64', data })
      else line.say(Buffer.concat([length, json, Buffer.from(String(data), 'base64')]))
    })],
    saw: [{ saw: 'event', event: 'n', id: '1', data: 'AP8K', bytes: true }]
  },

  // --- places that the server gives ----------------------------------------------------------

  'a loss that the server tells is told, and goes on from its id': {
    wires: ENVELOPE,
    turns: [play((line) => {
      line.event(1)
      line.say({ op: 'reset', topic: TOPIC, id: '5', reason: 'slow' })
      line.event(6)
    })],
    saw: [...numbers(1, 1), RESET, ...numbers(6, 6)]
  },
  'a place that moves without an event is no loss': {
    wires: ENVELOPE,
    turns: [play((line) => {
      line.event(1)
      line.say({ op: 'at', topic: TOPIC, id: '3', why: 'a word of tomorrow' })
      line.event(4)
    })],
    saw: [...numbers(1, 1), ...numbers(4, 4)]
  },
  'a place that the server does not find any more is a loss': {
    wires: ENVELOPE,
    turns: [
      play(async (line) => {
        line.event(1)
        await line.told(1)
        await line.cut()
      }),
      play((line) => line.event(10), {
        joined: (_line, topic) => [
          { op: 'subscribed', topic, recovered: false }, { op: 'reset', topic, id: '9', reason: 'expired' }
        ]
      })
    ],
    saw: [...numbers(1, 1), RESET, ...numbers(10, 10)],
    places: [undefined, '1']
  },
  'a snapshot comes first, and the events behind it follow its id': {
    wires: ENVELOPE,
    turns: [play((line) => line.event(6), { joined: (_line, topic) => [{ op: 'subscribed', topic }, snapshot] })],
    saw: [SNAPSHOT, ...numbers(6, 6)]
  },
  'who is cut before the snapshot asks for it again': {
    wires: ENVELOPE,
    turns: [
      play((line) => line.cut(), { joined: (_line, topic) => [{ op: 'subscribed', topic }] }),
      play((line) => line.event(6), { joined: (_line, topic) => [{ op: 'subscribed', topic }, snapshot] })
    ],
    saw: [SNAPSHOT, ...numbers(6, 6)],
    places: [undefined, undefined]
  }
}
