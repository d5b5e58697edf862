/** Finds the declared topic of a full name, by Fastify's own router. */
import FindMyWay from 'find-my-way'
import { PatternTaken, TopicUnknown } from '../../errors.ts'
import { printable } from '../event-name.ts'
import { MAX_NAME_BYTES, shapeOf } from './pattern.ts'
import type { DeclaredTopic, Params, TopicAt } from './topic.ts'

/** The longest name that is looked up, bytes. Percent-encoding may turn one byte into three. */
const MAX_GIVEN_BYTES = MAX_NAME_BYTES * 3

export class TopicRegistry {
  readonly #topics: DeclaredTopic[] = []
  #asks = false
  readonly #router = FindMyWay({ caseSensitive: true, maxParamLength: 1024 })

  /** @throws PatternTaken */
  add (topic: DeclaredTopic): void {
    const shape = shapeOf(topic.pattern)
    const twin = this.#topics.find((known) => shapeOf(known.pattern) === shape)
    if (twin) throw new PatternTaken(topic.pattern, twin.pattern === topic.pattern ? '' : ` as "${twin.pattern}"`)
    // The new topic may match a known name more exactly than the topic that has it.
    for (const known of this.#topics) known.forgetNames()
    this.#topics.push(topic)
    this.#asks ||= typeof topic.policy.authorize === 'function'
    this.#router.on('GET', '/' + topic.pattern, () => {}, topic)
  }

  get all (): readonly DeclaredTopic[] { return this.#topics }
  /** True if some topic has an `authorize` function. */
  get asks (): boolean { return this.#asks }

  byPattern (pattern: string): DeclaredTopic | undefined {
    return this.#topics.find((topic) => topic.pattern === pattern)
  }

  owner (name: string): DeclaredTopic | undefined {
    return this.#find(name)?.topic
  }

  /** @throws TopicUnknown */
  resolve (name: unknown): TopicAt {
    const found = typeof name === 'string' && Buffer.byteLength(name) <= MAX_GIVEN_BYTES ? this.#find(name) : undefined
    if (!found) throw new TopicUnknown(printable(name), whyUnknown(name))
    return found.topic.at(found.params)
  }

  #find (name: string): { topic: DeclaredTopic, params: Params } | undefined {
    if (name === '' || /[?#;]/.test(name)) return undefined
    const found = this.#router.find('GET', '/' + name)
    return found ? { topic: found.store as DeclaredTopic, params: found.params as Params } : undefined
  }
}

function whyUnknown (name: unknown): string {
  return typeof name === 'string'
    ? 'Declare its pattern with fastify.topic().'
    : 'The name of a topic is a string: topic.name(params). Or publish with topic.publish(params, event, data).'
}
