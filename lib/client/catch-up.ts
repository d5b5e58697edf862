/** A connection for one tab and one topic, until the tab is level with the shared connection. */
import type { ClientFrame, ServerFrame } from '../protocol.ts'
import type { TopicFrame } from './recent.ts'
import type { Dial } from './wire.ts'

export interface CatchUpHost {
  /** A frame of the topic. */
  heard (frame: TopicFrame): void
  refused (error: Extract<ServerFrame, { op: 'error' }>): void
  /** The connection is lost. */
  lost (): void
}

/** Returns what ends it. @throws what `dial` throws */
export function catchUp (
  dial: Dial, topic: string, from: string | undefined, token: string | undefined, host: CatchUpHost
): () => void {
  const wire = dial({
    opening: () => ({ cursors: from === undefined ? {} : { [topic]: from }, token, topics: [topic] }),
    heard: (frame) => {
      if ('op' in frame && frame.op === 'open') wire.send(joining(topic, from))
      else if ('op' in frame && frame.op === 'error' && frame.ref === topic) host.refused(frame)
      else if ('topic' in frame && frame.topic === topic && (!('op' in frame) || frame.op !== 'error')) {
        host.heard(frame as TopicFrame)
      }
    },
    down: () => host.lost()
  })
  return () => wire.close()
}

const joining = (topic: string, id: string | undefined): ClientFrame =>
  ({ op: 'subscribe', topic, ref: topic, ...id !== undefined && { id } })
