/** What is behind an app's plugin. Nothing that an app holds leads there, so each hub is noted as it starts. */
import type { Connection } from '../../lib/core/connection/connection.ts'
import { Hub, type Feature } from '../../lib/core/hub.ts'
import { Grants } from '../../lib/features/grants/grants.ts'

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

const features = new WeakMap<Hub, Feature[]>()
const { attach } = Hub.prototype

Hub.prototype.attach = function (this: Hub, feature: Feature): void {
  features.set(this, [...features.get(this) ?? [], feature])
  attach.call(this, feature)
}

/** What was revoked, as a node knows it. */
export function revocationOf (app: object): Grants['revocation'] {
  const grants = features.get(hubOf(app))?.find((feature) => feature instanceof Grants)
  if (!grants) throw new Error('the feature was not attached')
  return (grants as Grants).revocation
}

/** The connections of an app, as the plugin sees them. */
export function insidesOf (app: object): Connection[] {
  return [...hubOf(app).clients]
}
