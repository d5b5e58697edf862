/** A topic that a client joins at run time: what may have become of the client, or of its wish, meanwhile. */
import type { Connection } from '../core/connection/connection.ts'
import type { Cursor, Wanted } from '../core/connection/joining.ts'
import type { Join } from '../core/connection/joins.ts'
import type { Hub } from '../core/hub.ts'
import { ConnectionClosed, Forbidden } from '../errors.ts'

/** `there`: the client was joined to the topic by another call meanwhile. `left`: the topic was left meanwhile. */
export type Entered = 'in' | 'there' | 'left'

/** True when the topic was left meanwhile. @throws Forbidden when it was taken, ConnectionClosed */
export function hasLeft ({ name, fate }: Join, connection: Connection): boolean {
  if (connection.closed) throw new ConnectionClosed()
  if (fate === 'taken') throw new Forbidden(name, 'subscribe')
  return fate === 'left'
}

export async function joinLater (
  { entrance }: Hub, connection: Connection, join: Join, wanted: readonly Wanted[], ref: unknown
): Promise<Entered> {
  if (hasLeft(join, connection)) return 'left'
  const joining = await entrance.prepare(wanted)
  if (join.fate !== 'pending' || connection.closed) {
    entrance.release(joining)
    hasLeft(join, connection)
    return 'left'
  }
  const joined = entrance.join(connection, joining)
  connection.announce(joined, ref)
  connection.settle()
  return joined.length > 0 ? 'in' : 'there'
}

/** How a client wants to join a topic. `token`: what allows it, for this topic alone. */
export interface Wish {
  readonly cursor?: Cursor
  readonly ref?: unknown
  readonly token?: string | undefined
}
