/** A subscriber that is the app itself: nobody is asked about it, and no limit or order concerns it. */
import { Connection, type Client, type ConnectionSettings } from '../../core/connection/connection.ts'
import type { Hub } from '../../core/hub.ts'
import { randomId } from '../../core/id.ts'
import type { Identity } from '../../core/identity.ts'
import { joinLater } from '../../routes/join-later.ts'
import { resolveTopic } from '../../routes/topics-option.ts'

export class OwnClient implements Client {
  readonly id = randomId()
  readonly kind = 'process'
  readonly identity: Identity = { id: `process:${this.id}`, anonymous: true }
  readonly address = ''
  readonly place: undefined
  readonly since = Infinity
  readonly settings: ConnectionSettings
  readonly connection: Connection
  readonly #hub: Hub

  /** @throws Closed */
  constructor (hub: Hub, settings: ConnectionSettings) {
    this.#hub = hub
    this.settings = settings
    this.connection = new Connection(hub, this)
    hub.admitOwn(this.connection)
  }

  async subscribe (topic: unknown): Promise<void> {
    const { connection } = this
    const at = resolveTopic(this.#hub.topics, topic)
    if (connection.has(at.name)) return
    const join = connection.joining(at.name)
    try {
      await connection.whenBegun()
      await joinLater(this.#hub, connection, join, [{ at, cursor: undefined }], undefined)
    } finally {
      connection.joined(join)
    }
  }

  authorizeAgain (): void {}

  resolve (topic: unknown): string {
    return resolveTopic(this.#hub.topics, topic).name
  }
}
