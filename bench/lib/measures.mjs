// How one contestant is measured once, in one phase. Each returns figures; `lost` voids them.
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * µs of the server's CPU per event delivered. The next burst is published when all have heard the last one: a server that
 * writes in slices would otherwise be let off what it has not written yet, and send two events in one write.
 */
export async function fanOut (one, { bytes, burst, count }) {
  const { clients, topics } = one
  const before = await one.server.ask('cpu')
  for (let sent = 0; sent < count; sent += burst) {
    await one.server.ask('publish', { first: one.next, count: burst, burst, bytes, gap: 0, topics })
    await one.heard(burst)
  }
  const after = await one.server.ask('cpu')
  return { µs: (after.cpu - before.cpu) / count / clients }
}

/** From the call of publish to the client, over all clients, at a rate that does not wait for anybody. */
export async function latency (one, { bytes, perSecond, count }) {
  await one.crowd.ask('note', { latencies: true })
  const { delay, longest } = await one.server.ask('steady', { first: one.next, count, perSecond, bytes })
  await one.heard(count)
  const { p50, p99 } = await one.crowd.ask('latencies')
  await one.crowd.ask('note', {})
  return { 'p50 ms': p50, 'p99 ms': p99, 'delay p99 ms': delay, 'longest turn ms': longest }
}

export async function coalesced (one, phase) {
  const before = await one.server.ask('cpu')
  const figures = await latency(one, phase)
  const after = await one.server.ask('cpu')
  return { ...figures, µs: (after.cpu - before.cpu) / phase.count / one.clients }
}

/** µs of CPU from knock to subscription. */
export async function connects (one, { count }) {
  const before = await one.server.ask('cpu')
  await one.open(count)
  const after = await one.server.ask('cpu')
  await one.leave()
  return { µs: (after.cpu - before.cpu) / count }
}

/** KB per idle connection, after a smaller crowd has come and gone: what is made once is not counted. */
export async function memory (one, { count }) {
  await one.open(count / 10)
  await one.leave()
  const before = await one.server.ask('memory')
  await one.open(count)
  await sleep(500)
  const after = await one.server.ask('memory')
  await one.leave()
  return { 'RSS KB': (after.rss - before.rss) / count / 1024, 'heap KB': (after.heap - before.heap) / count / 1024 }
}

export async function heartbeat (one, { ms }) {
  const { cpu, longest } = await one.server.ask('beat', { ms })
  return { 'ms CPU': cpu / 1000, 'longest turn ms': longest }
}

/** Everybody is cut, misses some, and comes back at once. */
export async function resume (one, { count, bytes }) {
  await one.crowd.ask('note', { ids: true })
  await fanOut(one, { bytes, burst: 1, count: 2 })
  await one.crowd.ask('cut')
  await sleep(500)
  await one.server.ask('publish', { first: one.next, count, burst: 10, bytes, gap: 1, topics: 1 })
  const before = await one.server.ask('cpu')
  const started = performance.now()
  await one.crowd.ask('back')
  await one.heard(count)
  const ms = performance.now() - started
  const after = await one.server.ask('cpu')
  return { µs: (after.cpu - before.cpu) / one.clients, 'all back ms': ms }
}
