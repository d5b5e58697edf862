/**
 * The reference is the code's, and the code is in the reference: methods, options, events, reasons and codes. What the code has
 * is read from its types; what a page has, from the names in backquotes at the beginning of its table rows and items.
 */
import t, { type Test } from 'tap'
import ts from 'typescript'
import { PRESENCE, REMOVED, FINAL_EVENTS } from '../../lib/core/event.ts'
import * as closeReasons from '../../lib/core/close-reasons.ts'
import type { CloseReason } from '../../lib/core/close-reasons.ts'
import { read, root, tableUnder } from '../helpers/docs.ts'

const program = ts.createProgram([`${root}lib/types/index.ts`, `${root}lib/core/observe.ts`, `${root}lib/core/call-options.ts`], {
  target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, allowImportingTsExtensions: true, noEmit: true, strict: true, types: ['node']
})
const checker = program.getTypeChecker()

/** The members of an exported interface or type, those of a union together. */
function membersOf (file: string, name: string): string[] {
  const source = program.getSourceFile(`${root}lib/${file}`) as ts.SourceFile
  const declaration = source.statements.find((one) =>
    (ts.isInterfaceDeclaration(one) || ts.isTypeAliasDeclaration(one)) && one.name.text === name) as ts.InterfaceDeclaration
  const type = checker.getTypeAtLocation(declaration)
  const parts = type.isUnion() ? type.types : [type]
  return [...new Set(parts.flatMap((part) => part.getProperties().map((property) => property.name)))]
    .filter((member) => !member.startsWith('__')).sort()
}

/** Those that are written in it, without what it extends. */
function ownMembersOf (file: string, name: string): string[] {
  const source = program.getSourceFile(`${root}lib/${file}`) as ts.SourceFile
  const declaration = source.statements.find((one) => ts.isInterfaceDeclaration(one) && one.name.text === name) as ts.InterfaceDeclaration
  return declaration.members.map((member) => member.name?.getText() ?? '').sort()
}

/** The words of a union of texts. */
function wordsOf (file: string, name: string): string[] {
  const source = program.getSourceFile(`${root}lib/${file}`) as ts.SourceFile
  const declaration = source.statements.find((one) => ts.isTypeAliasDeclaration(one) && one.name.text === name) as ts.TypeAliasDeclaration
  const type = checker.getTypeAtLocation(declaration) as ts.UnionType
  return type.types.map((one) => (one as ts.StringLiteralType).value).sort()
}

/** Names at the beginning of rows and items under a heading: of `send(event, data)` it is `send`. */
function namesUnder (page: string, heading: string): string[] {
  const section = `\n${read(page)}`.split(`\n${heading}\n`)[1]?.split(/\n#/)[0] ?? ''
  const heads = section.split('\n').flatMap((line) => /^(?:\| |\* )((?:`[^`]*`[,:]? ?)+)/.exec(line)?.[1] ?? [])
  return heads.flatMap((head) => [...head.matchAll(/`(\w+)/g)].map(([, name = '']) => name))
}

/** `elsewhere`: what another page or sentence tells of. */
function same (t: Test, documented: string[], code: string[], elsewhere: string[] = []): void {
  const all = new Set([...documented, ...elsewhere])
  t.same(code.filter((name) => !all.has(name)), [], 'all that the code has is in the reference')
  t.same(documented.filter((name) => !code.includes(name)), [], 'all that the reference has is in the code')
}

t.test('the methods of app.realtime', async (t) => {
  same(t, namesUnder('docs/reference/realtime.md', '# `app.realtime`'), membersOf('types/realtime.ts', 'Realtime'))
})

t.test('what stats() has', async (t) => {
  same(t, namesUnder('docs/reference/realtime.md', '## `stats()`'), membersOf('types/realtime.ts', 'RealtimeStats'))
})

t.test('the options and methods of a topic, and of its presence', async (t) => {
  const heading = '## `app.topic(pattern, options)` → `Topic`'
  const members = [...membersOf('types/topic.ts', 'TopicOptions'), ...membersOf('types/topic.ts', 'Topic')]
  same(t, namesUnder('docs/reference/api.md', heading), members, ['pattern'])
  same(t, namesUnder('docs/reference/api.md', '### `presence`'), membersOf('types/topic.ts', 'PresenceOptions'))
})

t.test('the options of a stream and of a channel', async (t) => {
  const live = ownMembersOf('types/route.ts', 'LiveOptions')
  const stream = ['AnyStream', 'OwnFormat', 'ForeignFormat'].flatMap((name) => ownMembersOf('types/stream.ts', name))
  same(t, namesUnder('docs/reference/api.md', '## `app.stream(url, options)`'), [...new Set([...live, ...stream])])
  same(t, namesUnder('docs/reference/api.md', '## `app.channel(url, options)`'), [...live, ...ownMembersOf('types/channel.ts', 'ChannelRoute')])
})

t.test('the options that calls and other options take are named', async (t) => {
  const code = ['api', 'options', 'realtime', 'tokens'].flatMap((page) => read(`docs/reference/${page}.md`).match(/`[^`\n]+`/g) ?? [])
  const words = new Set(code.flatMap((span) => span.match(/\w+/g) ?? []))
  const objects: Array<[file: string, name: string]> = [
    ['types/topic.ts', 'HistoryOptions'], ['types/topic.ts', 'KeyedOptions'], ['types/topic.ts', 'Grant'], ['types/topic.ts', 'AuthorizeContext'],
    ['types/topic.ts', 'SubscribeOptions'], ['core/published.ts', 'PublishOptions'], ['types/channel.ts', 'MessageContext'], ['types/channel.ts', 'ChannelLimits'],
    ['types/stream.ts', 'SourceEvent'], ['types/stream.ts', 'SourceContext'], ['types/stream.ts', 'ResumableOptions'], ['types/stream.ts', 'StreamFormat'],
    ['types/realtime.ts', 'StopOptions'], ['types/realtime.ts', 'RealtimeTarget'], ['types/tokens.ts', 'SignOptions'], ['types/tokens.ts', 'TokensOptions'], ['types/options.ts', 'RealtimeOptions']
  ]
  for (const [file, name] of objects) {
    const members = membersOf(file, name)
    t.ok(members.length > 0, name)
    t.same(members.filter((member) => !words.has(member)), [], name)
  }
})

t.test('the metrics', async (t) => {
  const source = read('lib/metrics/instruments.ts')
  const names = [...source.matchAll(/'([a-z_]+(?:_total|_seconds|_bytes|_up)|connections|topics|subscriptions|\w+_connections)'/g)].map(([, name = '']) => name)
  same(t, namesUnder('docs/guides/monitoring.md', '## The metrics'), [...new Set(names)])
})

t.test('the members of a connection', async (t) => {
  const section = read('docs/reference/api.md').split('\n## `connection`\n')[1] ?? ''
  for (const member of membersOf('types/connection.ts', 'Connection')) t.match(section, new RegExp(`\`${member}[\`(]`), member)
})

t.test('the events of its own', async (t) => {
  const wire = read('lib/wires/sse/outlet.ts') + read('lib/types/topic.ts')
  const names = new Set([...FINAL_EVENTS, PRESENCE, REMOVED, ...[...wire.matchAll(/'(realtime:\w+)'/g)].map(([, name = '']) => name)])
  t.same([...tableUnder('docs/reference/events.md', '## Events').keys()].sort(), [...names].sort())
})

t.test('the reasons of a reset, there and in the protocol', async (t) => {
  const reasons = wordsOf('protocol.ts', 'ResetReason')
  t.same([...tableUnder('docs/reference/events.md', '## Reasons of a reset').keys()].sort(), reasons)
  t.same([...tableUnder('PROTOCOL.md', '### Reasons of a reset').keys()].sort(), reasons)
})

t.test('the close codes, and who comes back', async (t) => {
  const reasons = Object.values(closeReasons).filter((one): one is CloseReason => typeof one === 'object')
  const rows = tableUnder('docs/reference/events.md', '## Close codes')
  t.same([...rows.keys()].sort(), [...new Set(reasons.map(({ name }) => name))].sort())
  for (const { name, code } of reasons) if (name !== 'source-ended') t.equal(rows.get(name), String(code), name)
  const lines = read('docs/reference/events.md').split('\n')
  for (const { name, code, reconnect } of reasons) {
    t.ok(lines.some((line) => line.startsWith(`| \`${name}\` | ${code} | ${reconnect ? 'yes' : 'no'} |`)), `${name}, ${code}`)
  }
})

t.test('the error codes of a channel, there and in the protocol', async (t) => {
  const codes = wordsOf('protocol.ts', 'ErrorCode')
  t.same([...tableUnder('docs/reference/events.md', '## Error codes of a channel').keys()].sort(), codes)
  t.same([...tableUnder('PROTOCOL.md', '## 5. Error codes').keys()].filter((code) => code !== 'reset').sort(), codes)
})

t.test('the diagnostics channels, and what their messages hold', async (t) => {
  const source = read('lib/core/observe.ts')
  const channels = [...source.matchAll(/^ {2}(\w+): of\('(\w+)'\)/gm)].map(([, name = '']) => name)
  t.ok(channels.length > 10)
  const rows = tableUnder('docs/reference/diagnostics.md', '# Diagnostics')
  t.same([...rows.keys()].sort(), channels.sort())
})
