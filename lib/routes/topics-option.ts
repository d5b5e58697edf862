/** The `topics` of a stream or a channel: what a request hears. */
import type { FastifyRequest } from 'fastify'
import { printable } from '../core/event-name.ts'
import { andThen, type MaybePromise } from '../core/maybe-promise.ts'
import { TopicFace, topicAt } from '../core/topics/face.ts'
import type { TopicRegistry } from '../core/topics/registry.ts'
import type { DeclaredTopic, Params, TopicAt } from '../core/topics/topic.ts'
import { RouteInvalid, TopicParamsInvalid, TopicParamsMissing, TopicUndeclared, TopicUnknown } from '../errors.ts'
import type { RouteLabel } from './collector.ts'
import type { WireContext } from './context.ts'
import { TopicLimit } from './topic-limit.ts'

export interface TopicsFor {
  (request: FastifyRequest): MaybePromise<TopicAt[]>
  readonly limit: TopicLimit
}

/** The `topics` option, understood: checked before the app is ready, and asked at each request. */
export function planTopics (context: WireContext, label: RouteLabel, topics: unknown, urls: () => string[]): TopicsFor {
  const limit = new TopicLimit(label.kind, context.settings.maxTopics)
  return Object.assign(topicsOf(context, label, topics, urls, limit), { limit })
}

function topicsOf (
  context: WireContext, label: RouteLabel, topics: unknown, urls: () => string[], limit: TopicLimit
): (request: FastifyRequest) => MaybePromise<TopicAt[]> {
  if (topics === undefined) return () => []
  if (typeof topics === 'function') {
    return (request) => andThen(context.hub.patience.call<unknown>('"topics"', () => topics(request)),
      (named) => unique(limit, [named].flat().map((one) => resolveTopic(context.hub.topics, one))))
  }
  const list: unknown[] = Array.isArray(topics) ? topics : [topics]
  const plans = list.map((one) => planOne(context, label, one))
  context.onReady(() => {
    for (const plan of plans) for (const url of urls()) plan.check(url)
    limit.check(plans.length, () => plans.filter((plan) => plan.owner()?.durable).length)
  })
  return (request) => unique(limit, plans.map((plan) => plan.at(request.params as Params)))
}

export interface TopicPlan {
  /** Do the route's params name it? @throws TopicUndeclared, TopicParamsMissing */
  check (url: string): void
  at (params: Params): TopicAt
  /** Undefined while no declared pattern matches. */
  owner (): DeclaredTopic | undefined
  /** Is this one of those that it names? */
  matches (at: TopicAt): boolean
}

export function planOne (context: WireContext, label: RouteLabel, one: unknown): TopicPlan {
  const declared = TopicFace.declared(one)
  if (declared) return planDeclared(label, declared)
  const at = topicAt(one)
  if (at) return { check: () => {}, at: () => at, owner: () => at.topic, matches: ({ name }) => name === at.name }
  if (typeof one === 'string') return planTemplate(context, label, one)
  throw new RouteInvalid(label.kind, label.url,
    'has "topics" that are not a Topic, topic.at(…), a name, an array of these, or a function')
}

function planDeclared (label: RouteLabel, topic: DeclaredTopic): TopicPlan {
  return {
    check: (url) => {
      for (const name of topic.paramNames) needParam(label, topic.pattern, url, name)
    },
    at: (params) => topic.at(params),
    owner: () => topic,
    matches: (at) => at.topic === topic
  }
}

/** A name with `:params` of the route, e.g. `auctions/:id`, found among the declared patterns. */
function planTemplate (context: WireContext, label: RouteLabel, template: string): TopicPlan {
  const segments = template.split('/')
  const fill = (value: (param: string) => string): string => segments
    .map((segment) => segment === '*'
      ? value('*')
      : segment.startsWith(':') ? value(segment.slice(1)) : segment)
    .join('/')
  const params = segments
    .filter((segment) => segment === '*' || segment.startsWith(':'))
    .map((segment) => segment === '*' ? '*' : segment.slice(1))
  const example = (): string => fill((param) => `~${param}`)
  let owner: DeclaredTopic | undefined
  return {
    owner: () => context.hub.topics.owner(example()),
    matches: (at) => at.topic === owner && fits(at.name, segments, context.hub.topics.resolve(example()).name),
    check: (url) => {
      owner = context.hub.topics.owner(example())
      if (!owner) throw new TopicUndeclared(label.kind, label.url, template)
      for (const name of params) needParam(label, template, url, name)
    },
    at: (values) => {
      const at = context.hub.topics.resolve(fill((param) => param === '*'
        ? (values['*'] ?? '').split('/').map(encodeURIComponent).join('/')
        : encodeURIComponent(values[param] ?? '')))
      // Threat: an id that is the text of a more exact pattern ("users/me" beside "users/:id") would reach that one.
      if (at.topic !== owner) throw new TopicParamsInvalid(template, 'these params name a topic of another pattern')
      return at
    }
  }
}

/** `example`: the template's own name, with other params. */
function fits (name: string, template: string[], example: string): boolean {
  const [own, like] = [name.split('/'), example.split('/')]
  return template.every((segment, index) => segment === '*' || segment.startsWith(':') || own[index] === like[index])
}

function needParam (label: RouteLabel, topic: string, url: string, name: string): void {
  const has = name === '*' ? url.includes('*') : new RegExp(`:${name}(?![A-Za-z0-9_])`).test(url)
  if (!has) throw new TopicParamsMissing(`${label.kind} "${label.url}"`, topic, name)
}

/** A reference or a full name → a topic. @throws TopicUnknown, TopicParamsInvalid */
export function resolveTopic (topics: TopicRegistry, value: unknown): TopicAt {
  return topicAt(value) ?? resolveName(topics, value)
}

/**
 * A full name that the app has written. Of the text of a pattern ("rooms/:id") the router makes a topic that is called
 * ":id", which nobody hears.
 * @throws TopicUnknown
 */
export function resolveName (topics: TopicRegistry, name: unknown): TopicAt {
  const at = topics.resolve(name)
  if (at.topic.pattern === name && at.topic.paramNames.length > 0) {
    throw new TopicUnknown(printable(name), 'It is a pattern: give the name of one topic, topic.name(params).')
  }
  return at
}

function unique (limit: TopicLimit, topics: TopicAt[]): TopicAt[] {
  if (topics.length === 1) return topics
  const seen = new Map(topics.map((at) => [at.name, at]))
  limit.check(seen.size, () => topics.filter((at) => at.topic.durable && seen.get(at.name) === at).length)
  return [...seen.values()]
}
