/** A subscription with the callbacks that a route has: for tests alone. */
import type { AnyItem, TopicSubscription } from '../../lib/index.ts'
import type { RouteCallbacks } from '../../lib/routes/arrival.ts'
import { ProcessWire } from '../../lib/wires/process/process-wire.ts'

const { subscribe } = ProcessWire.prototype
let callbacks: RouteCallbacks | undefined

ProcessWire.prototype.subscribe = function (this: ProcessWire, at, options) {
  const own = callbacks
  callbacks = undefined
  return subscribe.call(this, at, options, own)
}

export function subscribeWith (
  own: Omit<RouteCallbacks, 'more'>, start: () => TopicSubscription<AnyItem>
): TopicSubscription<AnyItem> {
  callbacks = { ...own, more: false }
  return start()
}
