/** Topics for runs, which no client can name. */
import type { Retention } from '../../core/adapter.ts'
import { DeclaredTopic, type TopicHost } from '../../core/topics/topic.ts'

/** `whole`: the topic is of use only as a whole, and ends with its last event. */
export function reservedTopic (
  host: TopicHost, pattern: string, { retention, whole }: { retention: Retention, whole?: boolean }
): DeclaredTopic {
  return new DeclaredTopic(host, pattern, {
    retention,
    schemas: undefined,
    events: undefined,
    authorize: undefined,
    snapshot: undefined,
    validate: false,
    ...whole && { whole }
  }, 'reserved')
}
