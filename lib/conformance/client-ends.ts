/** What an end means: when to come back, with what, and when to stay away. */
import { ALL, ENVELOPE, honest, numbers, play, refuse, type Script } from './client-script.ts'

const TOKENS = { tokens: ['token-1', 'token-2', 'token-3'] }
const PAUSE_MS = 300
const SILENCE_MS = 200

export const ends: Script = {
  'a server that is not there yet is dialled again: 502': {
    wires: ALL, turns: [refuse(502), refuse(502), honest(2)], saw: numbers(1, 2)
  },
  'so is one that is full: 503 and 429': {
    wires: ['http', 'sse'],
    turns: [
      refuse(503, { code: 'FST_ERR_REALTIME_UNAVAILABLE', headers: { 'retry-after': '0' } }), refuse(429), honest(2)
    ],
    saw: numbers(1, 2)
  },
  'a page of a proxy in place of a stream is none': {
    wires: ['http', 'sse'],
    turns: [refuse(200, { headers: { 'content-type': 'text/html' }, body: '<h1>Welcome</h1>' }), honest(2)],
    saw: numbers(1, 2)
  },
  'who is told that there is nothing more stays away: 204': {
    wires: ['http', 'sse'], turns: [refuse(204)], saw: [{ saw: 'over' }]
  },
  'who is refused stays away': {
    wires: ENVELOPE, turns: [refuse(403, { code: 'FORBIDDEN' })], saw: [{ saw: 'over', code: 'FORBIDDEN' }]
  },
  'who is refused a stream stays away: 401': { wires: ['http', 'sse'], turns: [refuse(401)], saw: [{ saw: 'over' }] },
  'and 404': { wires: ['http', 'sse'], turns: [refuse(404)], saw: [{ saw: 'over' }] },
  'a bye is an end where it says so': {
    wires: ENVELOPE,
    turns: [play((line) => {
      line.event(1)
      line.bye(1000, 'closed-by-app', { reconnect: false })
    })],
    saw: [...numbers(1, 1), { saw: 'over' }]
  },
  'a bye says when to come back': {
    wires: ENVELOPE,
    turns: [
      play(async (line) => {
        line.event(1)
        await line.told(1)
        line.bye(1012, 'shutting-down', { reconnect: true, retry: PAUSE_MS })
      }),
      honest(2)
    ],
    saw: numbers(1, 2),
    places: [undefined, '1'],
    pause: PAUSE_MS
  },
  'a connection that says nothing is given up': {
    wires: ENVELOPE,
    order: { patience: 2000 },
    turns: [{ mute: true }, honest(2)],
    saw: numbers(1, 2)
  },
  'a connection that falls silent is given up, and goes on where it was': {
    wires: ENVELOPE,
    turns: [play((line) => line.event(1), { heartbeat: SILENCE_MS }), honest(3)],
    saw: numbers(1, 3)
  },

  // --- tokens --------------------------------------------------------------------------------

  'another token is brought where the first was refused': {
    wires: ENVELOPE,
    needs: 'tokens',
    order: TOKENS,
    turns: [refuse(401, { code: 'TOKEN_INVALID' }), honest(2)],
    saw: numbers(1, 2),
    tokens: ['token-1', 'token-2']
  },
  'where that is refused too, nothing is tried any more': {
    wires: ENVELOPE,
    needs: 'tokens',
    order: TOKENS,
    turns: [refuse(401, { code: 'TOKEN_INVALID' }), refuse(401, { code: 'TOKEN_INVALID' })],
    saw: [{ saw: 'over', code: 'TOKEN_INVALID' }],
    tokens: ['token-1', 'token-2']
  },
  'what allowed it has expired: it comes back with another token, to where it was': {
    wires: ENVELOPE,
    needs: 'tokens',
    order: TOKENS,
    turns: [
      play(async (line) => {
        line.event(1)
        await line.told(1)
        line.bye(4401, 'expired', { reconnect: true })
      }),
      honest(2)
    ],
    saw: numbers(1, 2),
    places: [undefined, '1'],
    tokens: ['token-1', 'token-2']
  },
  'a token is renewed in place before it expires': {
    wires: ['websocket'],
    needs: 'refresh',
    order: TOKENS,
    turns: [play(async (line) => {
      const { token, ref } = await line.hears('refresh')
      line.say({ op: 'refreshed', ref, expires: 3_600_000 })
      line.event({ n: 1, data: token })
    }, { joined: (_line, topic) => [{ op: 'subscribed', topic, id: '0', expires: 60 }] })],
    saw: [{ saw: 'event', event: 'n', id: '1', data: 'token-2' }],
    tokens: ['token-1']
  },
  'over HTTP it is renewed by another stream': {
    wires: ['http'],
    needs: 'refresh',
    order: TOKENS,
    turns: [
      play((line) => line.event(1), {
        joined: (_line, topic) => [{ op: 'subscribed', topic, id: '0', expires: 2000 }]
      }),
      honest(2)
    ],
    saw: numbers(1, 2),
    tokens: ['token-1', 'token-2']
  },
  'a topic that has lapsed is joined again with a newer token': {
    wires: ['websocket'],
    needs: 'refresh',
    order: TOKENS,
    turns: [play(async (line) => {
      await line.hears('subscribe')
      line.event(1)
      await line.told(1)
      line.say({ op: 'unsubscribed', topic: 'news', reason: 'expired' })
      const { ref } = await line.hears('refresh')
      line.say({ op: 'refreshed', ref, expires: 3_600_000 })
      await line.hears('subscribe')
      line.event(2)
    })],
    saw: numbers(1, 2)
  },
  'a topic that is taken is told, and the others go on': {
    wires: ENVELOPE,
    order: { topics: ['news', 'sport'] },
    turns: [play((line) => {
      line.say({ op: 'unsubscribed', topic: 'sport', reason: 'refused' })
      line.event(1)
    })],
    saw: [{ saw: 'error', topic: 'sport' }, ...numbers(1, 1)]
  },
  'a topic that is refused is told, and the others are heard': {
    wires: ENVELOPE,
    order: { topics: ['news', 'sport'] },
    turns: [play((line) => line.event(1), {
      joined: (_line, topic) => topic === 'news'
        ? [{ op: 'subscribed', topic, id: '0' }]
        : [{ op: 'error', topic, code: 'FORBIDDEN', message: 'no' }]
    })],
    saw: [{ saw: 'error', topic: 'sport', code: 'FORBIDDEN' }, ...numbers(1, 1)]
  },

  // --- messages ------------------------------------------------------------------------------

  'a message is answered': {
    wires: ENVELOPE,
    needs: 'messages',
    turns: [play(async (line) => {
      line.ask('say', { text: 'Hello' })
      const { frame, reply } = await line.asked('say')
      reply({ heard: frame.data })
    })],
    saw: [{ saw: 'reply', n: 1, data: { heard: { text: 'Hello' } } }]
  },
  'a message that fails is told the code': {
    wires: ENVELOPE,
    needs: 'messages',
    turns: [play(async (line) => {
      line.ask('bid', { amount: 1 })
      const { fail } = await line.asked('bid')
      fail('OUTBID')
    })],
    saw: [{ saw: 'failed', n: 1, code: 'OUTBID' }]
  },
  'a message that is cut off has failed, and what comes behind it goes on its way': {
    wires: ENVELOPE,
    needs: 'messages',
    turns: [
      play(async (line) => {
        line.ask('say', { text: 'Hello' })
        const { cut } = await line.asked('say')
        cut()
        await line.told(1)
        line.event(1)
      }),
      honest(1)
    ],
    spare: 1,
    saw: [{ saw: 'failed', n: 1 }, ...numbers(1, 1)]
  }
}
