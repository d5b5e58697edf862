// What is measured, beside what, and what it should come to. `quick`: part of `npm run bench`.
//   measure  a function of lib/measures.mjs
//   warm     rounds that are not counted: 1 unless said
//   phases   what it is called with; all of a work's phases run on the same connections
//   goals    `metric` of `ours` ÷ that of `beside` (or by itself) ≤ `atMost`; median of the rounds' ratios
const SMALL = { bytes: 64, burst: 1, count: 12 }
const ONE_KB = { bytes: 1024, burst: 1, count: 12 }
const BURSTS = { bytes: 64, burst: 8, count: 64 }
const FAN_OUT = { '64 B, one at a time': SMALL, '1 KB, one at a time': ONE_KB, '64 B, bursts of 8': BURSTS }

const sse = ['ours, history on', 'ours, history off', 'ours, two topics', 'socket.write', 'reply.raw.write', '@fastify/sse', 'fastify-sse-v2', 'better-sse', 'nchan, eventsource']
const websocket = ['ours, flat', 'ours, envelope', '@fastify/websocket', 'ws', 'socket.io', 'nchan, websocket']

const goal = (row, phase, ours, beside, atMost, metric = 'µs') => ({ row, phase, ours, beside, atMost, metric })

export const works = [
  {
    name: 'SSE fan-out',
    measure: 'fanOut',
    subscribers: { quick: [1000], full: [100, 1000, 5000] },
    contestants: sse,
    phases: FAN_OUT,
    goals: [
      goal('SSE, one at a time', '64 B, one at a time', 'ours, history on', '@fastify/sse', 1 / 1.5),
      goal('SSE, one at a time', '1 KB, one at a time', 'ours, history on', '@fastify/sse', 1 / 1.8),
      goal('SSE, one at a time', '64 B, one at a time', 'ours, history on', 'nchan, eventsource', 1),
      goal('SSE, one at a time', '1 KB, one at a time', 'ours, history on', 'nchan, eventsource', 1),
      goal('bursts of 8', '64 B, bursts of 8', 'ours, history on', '@fastify/sse', 1 / 4),
      goal('bursts of 8', '64 B, bursts of 8', 'ours, history on', 'nchan, eventsource', 1 / 8),
      goal('with history on', '64 B, one at a time', 'ours, history on', 'ours, history off', 1.1),
      goal('with history on', '1 KB, one at a time', 'ours, history on', 'ours, history off', 1.1),
      goal('multi-topic SSE', '64 B, one at a time', 'ours, two topics', 'ours, history on', 1.15)
    ]
  },
  {
    name: 'WebSocket fan-out',
    measure: 'fanOut',
    subscribers: { quick: [1000], full: [100, 1000, 5000] },
    contestants: websocket,
    phases: FAN_OUT,
    goals: [
      goal('WebSocket, one at a time', '64 B, one at a time', 'ours, flat', '@fastify/websocket', 0.88),
      goal('WebSocket, one at a time', '1 KB, one at a time', 'ours, flat', '@fastify/websocket', 0.88),
      goal('WebSocket, one at a time', '64 B, one at a time', 'ours, flat', 'nchan, websocket', 1),
      goal('WebSocket, one at a time', '1 KB, one at a time', 'ours, flat', 'nchan, websocket', 1),
      goal('bursts of 8', '64 B, bursts of 8', 'ours, flat', 'ws', 1 / 8),
      goal('bursts of 8', '64 B, bursts of 8', 'ours, flat', 'nchan, websocket', 1 / 8),
      goal('envelope', '64 B, one at a time', 'ours, envelope', 'ours, flat', 1.15)
    ]
  },
  {
    name: 'many topics of few',
    measure: 'fanOut',
    subscribers: { quick: [4000], full: [4000] },
    contestants: ['ours, many topics', 'ours, history on'],
    each: { 'ours, many topics': { perTopic: 2 } },
    phases: { '2,000 topics × 2, one topic × 4,000': { bytes: 64, burst: 1, count: 6 } },
    goals: [goal('2,000 topics × 2 listeners', '2,000 topics × 2, one topic × 4,000', 'ours, many topics', 'ours, history on', 1.3)]
  },
  {
    name: 'latency',
    measure: 'latency',
    subscribers: { quick: [1000], full: [1000] },
    contestants: ['ours, history on', '@fastify/sse', 'socket.write', 'nchan, eventsource'],
    phases: { '30 a second, 64 B': { bytes: 64, perSecond: 30, count: 60 } },
    goals: [goal('latency at 30/s', '30 a second, 64 B', 'ours, history on', '@fastify/sse', 0.75, 'p99 ms')]
  },
  {
    name: 'coalesced',
    measure: 'coalesced',
    subscribers: { full: [1000] },
    contestants: ['ours, coalesce 20 ms', 'ours, history on'],
    phases: { '500 a second, 64 B': { bytes: 64, perSecond: 500, count: 1000 } },
    goals: []
  },
  {
    name: 'event-loop delay',
    measure: 'latency',
    subscribers: { quick: [5000], full: [5000] },
    contestants: ['ours, history on', '@fastify/sse'],
    phases: { '20 a second, 64 B': { bytes: 64, perSecond: 20, count: 40 } },
    rounds: 3,
    goals: [goal('5,000 subscribers, 20/s', '20 a second, 64 B', 'ours, history on', undefined, 15, 'delay p99 ms')]
  },
  {
    name: 'connects',
    measure: 'connects',
    subscribers: { quick: [0], full: [0] },
    contestants: ['ours, history on', 'ours, flat', 'reply.raw.write', '@fastify/sse', 'better-sse', '@fastify/websocket', 'socket.io'],
    phases: { '1,000 connects': { count: 1000 } },
    // What runs once for each client is compiled late.
    warm: 6,
    goals: [
      goal('connect', '1,000 connects', 'ours, history on', '@fastify/sse', 0.9),
      goal('connect', '1,000 connects', 'ours, flat', '@fastify/websocket', 0.9)
    ]
  },
  {
    name: 'idle memory',
    measure: 'memory',
    subscribers: { quick: [0], full: [0] },
    contestants: ['ours, history on', 'ours, flat', 'reply.raw.write', '@fastify/sse', '@fastify/websocket', 'socket.io'],
    phases: { '5,000 idle': { count: 5000 } },
    rounds: 1,
    fresh: true,
    goals: ['RSS KB', 'heap KB'].flatMap((metric) => [
      goal('idle', '5,000 idle', 'ours, history on', 'reply.raw.write', 1.1, metric),
      goal('idle', '5,000 idle', 'ours, flat', '@fastify/websocket', 1.1, metric)
    ])
  },
  {
    name: 'heartbeats',
    measure: 'heartbeat',
    subscribers: { quick: [5000], full: [5000] },
    contestants: ['ours, history on', 'ours, flat', 'socket.write', 'ws'],
    options: { heartbeat: 2000 },
    phases: { 'one round': { ms: 2000 } },
    goals: [
      goal('heartbeat of 5,000', 'one round', 'ours, history on', 'socket.write', 1.25, 'ms CPU'),
      goal('heartbeat of 5,000', 'one round', 'ours, flat', 'ws', 1, 'ms CPU'),
      goal('heartbeat of 5,000', 'one round', 'ours, history on', undefined, 10, 'longest turn ms'),
      goal('heartbeat of 5,000', 'one round', 'ours, flat', undefined, 10, 'longest turn ms')
    ]
  },
  {
    name: 'resume storm',
    measure: 'resume',
    subscribers: { full: [1000, 5000] },
    contestants: ['ours, history on'],
    phases: { '100 events missed': { count: 100, bytes: 64 } },
    rounds: 3,
    goals: []
  }
]
