/** Topics' names and params: what a client sends cannot reach another topic. */
import t from 'tap'
import { Patience } from '../../../lib/core/callbacks.ts'
import { TopicRegistry } from '../../../lib/core/topics/registry.ts'
import { DeclaredTopic, type Params } from '../../../lib/core/topics/topic.ts'
import { Random, seedOf } from '../../random/random.ts'

function declare (...patterns: string[]) {
  return declareIn(new TopicRegistry(), ...patterns)
}

function declareIn (registry: TopicRegistry, ...patterns: string[]) {
  const topics = patterns.map((pattern) => {
    const topic = new DeclaredTopic({ patience: new Patience(1000), maxEventBytes: 65_536, owner: (name) => registry.owner(name) }, pattern, {
      retention: undefined, schemas: undefined, events: undefined, authorize: undefined, snapshot: undefined, validate: false
    })
    registry.add(topic)
    return topic
  })
  return { registry, topics: topics as [DeclaredTopic, ...DeclaredTopic[]] }
}

const PIECES = ['a', 'B', '1', '/', '%2F', '%', '..', '.', ':', '*', '?', '#', ';', ' ', '+', '&', '=', '\\', '\r\n', '\0', 'é', '💧', 'me', '%25']

t.test('different params have different names, and a name leads back to its params', async (t) => {
  const seed = seedOf()
  t.comment(`SEED=${seed}`)
  const random = new Random(seed)
  const { registry, topics: [pair, one] } = declare('pairs/:a/:b', 'ones/:id')
  const text = (): string => Array.from({ length: random.int(1, 6) }, () => random.pick(PIECES)).join('')
  const named = new Map<string, string>()
  for (let i = 0; i < 5000; i++) {
    const topic = random.pick([pair, one as DeclaredTopic])
    const params: Params = topic === pair ? { a: text(), b: text() } : { id: text() }
    const name = topic.name(params)
    const key = JSON.stringify(params)
    if ((named.get(name) ?? key) !== key) t.fail(`${key} and ${named.get(name)} have one name, ${name}`)
    named.set(name, key)
    if (name.split('/').length !== topic.pattern.split('/').length) t.fail(`${key} adds a segment: ${name}`)
    if (!/^[\x21-\x7e]+$/.test(name) || name.split('/').some((segment) => /^\.+$/.test(segment))) t.fail(`${key} makes the name ${name}`)
    const found = registry.resolve(name)
    if (found.topic !== topic || JSON.stringify(found.params) !== key) t.same(found.params, params, name)
  }
  t.ok(named.size > 2000)
})

t.test('a rest holds slashes, and nothing else that would leave it', async (t) => {
  const { registry, topics: [files] } = declare('files/*')
  t.equal(files.name({ '*': 'a/b c/../d' }), 'files/a/b%20c/%2E%2E/d')
  t.same(registry.resolve('files/a/b%20c/%2E%2E/d').params, { '*': 'a/b c/../d' })
  t.equal(registry.resolve(files.name({ '*': 'a%2Fb' })).params['*'], 'a%2Fb')
})

t.test('params that are missing, empty, malformed or of another pattern are refused', async (t) => {
  const { topics: [user, me] } = declare('users/:id', 'users/me')
  for (const params of [{}, { id: '' }, { id: null }, { id: ['x'] }, { id: {} }, { id: '\ud800' }, { id: 'x'.repeat(300) }, { id: 'me' }, undefined]) {
    t.throws(() => user.name(params as unknown as Params), { code: 'FST_ERR_REALTIME_TOPIC_PARAMS' }, JSON.stringify(params))
  }
  t.equal(user.name({ id: 7 } as unknown as Params), 'users/7')
  t.equal(me?.name({}), 'users/me')
  t.equal(user.name({ id: 'me%' }), 'users/me%25')
  const at = user.at({ id: '1', other: 'x' })
  t.same(at.params, { id: '1' }, 'what the pattern does not name is left out')
  t.ok(Object.isFrozen(at))
})

t.test('a name found once is kept, until a more exact pattern claims it', async (t) => {
  const { registry, topics: [user] } = declare('users/:id')
  t.equal(user.name({ id: 'me' }), 'users/me')
  t.equal(user.name({ id: 'me' }), 'users/me')
  declareIn(registry, 'users/me')
  t.throws(() => user.name({ id: 'me' }), { code: 'FST_ERR_REALTIME_TOPIC_PARAMS' })
  // More than are kept, and then the first ones again.
  const wrong = Array.from({ length: 10_000 }, (_, i) => i % 5000).filter((n) => user.name({ id: `/${n}` }) !== `users/%2F${n}`)
  t.same(wrong, [])
})

t.test('patterns that a router could not tell apart, or not take as they are, are refused', async (t) => {
  for (const pattern of ['', '/a', 'a/', 'a//b', 'a/*/b', ':a/:a', ':a?', ':a(\\d+)', 'a b', 'a%2F', 'a;b', '..', 'a/.', '*a', ':', ':1', 'realtime:x', 'a\n', '\ud800', 'x'.repeat(256), 7, undefined]) {
    t.throws(() => declare(pattern as string), { code: 'FST_ERR_REALTIME_PATTERN' }, JSON.stringify(pattern))
  }
  for (const [one, other] of [['a/:b', 'a/:b'], ['a/:b', 'a/:c'], ['a/*', 'a/*']] as const) {
    t.throws(() => declare(one, other), { code: 'FST_ERR_REALTIME_PATTERN_TAKEN' }, `${one} and ${other}`)
  }
  t.doesNotThrow(() => declare('a/:b', 'a/b', 'a/*', 'a/:b/c', 'é/💧'))
})

t.test('a name that no pattern matches is an error that names it, printable and short', async (t) => {
  const { registry } = declare('a/:b')
  for (const name of ['', 'a', 'a/b/c', 'b/x', 'a/', 'a/x?y', 'a/x#y', 'a/x;y', 'x'.repeat(100_000), undefined, 7, {}]) {
    try {
      registry.resolve(name)
      t.fail(`${String(name).slice(0, 50)} was resolved`)
    } catch (error) {
      const { code, message } = error as { code: string, message: string }
      t.match(code, /^FST_ERR_REALTIME_TOPIC_/)
      t.ok(message.length < 400 && /^[\x20-\x7e]*$/.test(message), message.slice(0, 100))
    }
  }
  t.equal(registry.resolve('a/\n').name, 'a/%0A', 'and one that is found is named anew')
  t.equal(registry.owner('a/x')?.pattern, 'a/:b')
  t.equal(registry.owner('nothing'), undefined)
})
