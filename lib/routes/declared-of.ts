/** What a "topics" option names, as far as it is declared. */
import { TopicFace, topicAt } from '../core/topics/face.ts'
import type { TopicRegistry } from '../core/topics/registry.ts'
import type { DeclaredTopic } from '../core/topics/topic.ts'

/** What was declared of a Topic, a reference or a pattern; undefined where that is not known before a request. */
export function declaredOf (topics: TopicRegistry, value: unknown): DeclaredTopic | undefined {
  return TopicFace.declared(value) ?? topicAt(value)?.topic ??
    (typeof value === 'string' ? topics.byPattern(value) : undefined)
}
