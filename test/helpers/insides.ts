/** What is behind an app's plugin. Nothing that an app holds leads there, so each hub is noted as it starts. */
import type { Connection } from '../../lib/core/connection/connection.ts'
import { Hub } from '../../lib/core/hub.ts'

const hubs = new WeakMap<object, Hub>()
const { start } = Hub.prototype

Hub.prototype.start = function (this: Hub): Promise<void> {
  hubs.set(this.settings.app as object, this)
  return start.call(this)
}

/** Import this file before the app registers the plugin. */
export function hubOf (app: object): Hub {
  const hub = hubs.get(app)
  if (!hub) throw new Error('no plugin was registered on this app')
  return hub
}

/** The connections of an app, as the plugin sees them. */
export function insidesOf (app: object): Connection[] {
  return [...hubOf(app).clients]
}
