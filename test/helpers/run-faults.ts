/** What keeps a node from claiming what it has begun, and from saying the ends of its runs. */
import type { Adapter } from '../../lib/index.ts'
import { gate } from './app.ts'
import type { Gates, House } from './run-states.ts'

const RUNS = /^realtime:runs\//

export function faulty (adapter: Adapter, gates: Gates): Pick<Required<House>, 'held' | 'lost'> {
  const { subscribe, publish } = adapter
  let holding: Promise<unknown> | undefined
  /** How many appends have failed, by topic: what is said next, and the end. */
  let failed: Map<string, number> | undefined
  adapter.subscribe = async (topic, durable) => {
    if (RUNS.test(topic)) await holding
    return await subscribe.call(adapter, topic, durable)
  }
  adapter.publish = async (topic, name, ...rest) => {
    const failures = failed?.get(topic) ?? 0
    if (failed && RUNS.test(topic) && failures < 2) {
      failed.set(topic, failures + 1)
      throw new Error('this node cannot append now')
    }
    return await publish.call(adapter, topic, name, ...rest)
  }
  return {
    held () {
      const { open, passed } = gate()
      holding = passed
      return open
    },
    lost () {
      failed = new Map()
      gates.openAll()
    }
  }
}
