/** What is asked of the command, and how it is told. */
import { validateHeaderName, validateHeaderValue } from 'node:http'
import { parseArgs } from 'node:util'
import { nearest } from '../nearest.ts'

/** The command was called wrongly: exit code 2. */
export class Misuse extends Error {}

export const HELP = `fastify-realtime listen <url>    prints a stream's events, one a line
fastify-realtime bench <url>     opens many clients of one URL, and checks what each of them hears

both
  --ws                    a channel, by fastify-realtime.v1 (also where the URL begins with ws: or wss:)
  --topic <name>          joins this topic of the channel; as often as you like
  --header "name: value"  with the request; as often as you like
  --token <token>         the same as --header "authorization: Bearer <token>"
  --json                  JSON: of each event on a line of its own, or of the result
  --help, --version

listen
  --last-event-id <id>    goes on behind this event; with --ws of the one --topic
  --count <n>             ends after so many events

bench
  --clients <n>           default 100, at most 20000
  --seconds <n>           how long it listens once they are connected, default 10, at most 3600
  --anywhere              without it the URL must be of this machine (localhost, 127.0.0.0/8, ::1)

A URL begins with http:// or https:// (ws:// or wss:// for a channel); localhost, 127.0.0.1 and [::1] may go without.
Ctrl-C ends it, with what there is to say.
Exit code: 0 done; 1 refused, failed, events amiss, or no event heard by bench; 2 called wrongly.
`

const OPTIONS = {
  ws: { type: 'boolean' },
  topic: { type: 'string', multiple: true },
  header: { type: 'string', multiple: true },
  token: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
  version: { type: 'boolean' },
  'last-event-id': { type: 'string' },
  count: { type: 'string' },
  clients: { type: 'string' },
  seconds: { type: 'string' },
  anywhere: { type: 'boolean' }
} as const

type Name = keyof typeof OPTIONS
const BOTH: readonly Name[] = ['ws', 'topic', 'header', 'token', 'json']
const OF = {
  listen: new Set<Name>([...BOTH, 'last-event-id', 'count']),
  bench: new Set<Name>([...BOTH, 'clients', 'seconds', 'anywhere'])
} as const

export interface Target {
  readonly url: URL
  readonly ws: boolean
  readonly topics: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  /** Where the first connection goes on. */
  readonly lastEventId: string | undefined
}

export type Asked =
  | { readonly do: 'help' | 'version' }
  | { readonly do: 'listen', readonly target: Target, readonly json: boolean, readonly count: number }
  | {
    readonly do: 'bench',
    readonly target: Target,
    readonly json: boolean,
    readonly clients: number,
    readonly seconds: number
  }

/** @throws Misuse */
export function readArguments (args: string[]): Asked {
  const { values, positionals } = parsed(args)
  if (values.help) return { do: 'help' }
  if (values.version) return { do: 'version' }
  const [what, url, ...others] = positionals
  if (what !== 'listen' && what !== 'bench') {
    throw new Misuse(what === undefined ? 'say "listen" or "bench"' : `there is no "${what}": say "listen" or "bench"`)
  }
  const foreign = Object.keys(values).find((name) => !OF[what].has(name as Name))
  if (foreign) throw new Misuse(`--${foreign} is not for "${what}"`)
  if (url === undefined) throw new Misuse(`${what} needs a URL`)
  const [more] = others
  if (more !== undefined) throw new Misuse(`"${more}" is one word too many: put quotes around what has spaces`)
  const target = readTarget(url, values)
  const json = values.json === true
  if (what === 'listen') return { do: what, target, json, count: whole('count', values.count, Infinity, 1e9) }
  if (values.anywhere !== true) mustBeHere(target.url)
  return {
    do: what,
    target,
    json,
    clients: whole('clients', values.clients, 100, 20_000),
    seconds: whole('seconds', values.seconds, 10, 3600)
  }
}

function parsed (args: string[]) {
  mustBeKnown(args)
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new Misuse((error as Error).message)
  }
}

function mustBeKnown (args: string[]): void {
  const { tokens } = parseArgs({ args, options: OPTIONS, allowPositionals: true, strict: false, tokens: true })
  for (const token of tokens) {
    if (token.kind !== 'option' || Object.hasOwn(OPTIONS, token.name)) continue
    const meant = nearest(token.name, Object.keys(OPTIONS))
    throw new Misuse(`unknown option ${token.rawName}${meant === undefined ? '' : `; did you mean --${meant}?`}`)
  }
}

type Values = ReturnType<typeof parsed>['values']

function readTarget (text: string, values: Values): Target {
  const url = readUrl(text)
  const ws = values.ws === true || url.protocol.startsWith('ws')
  const { topic: topics = [], 'last-event-id': lastEventId } = values
  if (topics.length > 0 && !ws) throw new Misuse('--topic is for channels (--ws): the URL of a stream says its topics')
  if (ws && lastEventId !== undefined && topics.length !== 1) {
    throw new Misuse('--last-event-id needs one --topic with --ws: an id is one of a topic')
  }
  url.protocol = url.protocol.replace('ws', 'http')
  return { url, ws, topics, headers: readHeaders(values), lastEventId }
}

/** This machine is named often, and without more. */
const HERE = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?(?=[/?#]|$)/i

function readUrl (text: string): URL {
  const whole = HERE.test(text) ? `http://${text}` : text
  const scheme = /^([a-z][\w+.-]*):\/\//i.exec(whole)?.[1]
  if (scheme === undefined) {
    throw new Misuse(`"${text}" needs http:// or https:// before it (or ws:// or wss://, for a channel)`)
  }
  if (!/^(https?|wss?)$/i.test(scheme)) throw new Misuse(`${scheme}:// is not spoken here: http:// and https:// are`)
  if (!URL.canParse(whole)) throw new Misuse(`"${text}" is no valid URL`)
  return new URL(whole)
}

function readHeaders ({ header = [], token }: Values): Record<string, string> {
  const headers = Object.fromEntries(header.map(readHeader))
  if (token === undefined) return headers
  if (headers.authorization !== undefined) throw new Misuse('--token and an authorization header say two things')
  return { ...headers, ...Object.fromEntries([readHeader(`authorization: Bearer ${token}`)]) }
}

const HEADER = '--header is "name: value", in characters that a header may have'

function readHeader (text: string): [string, string] {
  const colon = text.indexOf(':')
  if (colon < 1) throw new Misuse(HEADER)
  const [name, value] = [text.slice(0, colon).trim().toLowerCase(), text.slice(colon + 1).trim()]
  try {
    validateHeaderName(name)
    validateHeaderValue(name, value)
    return [name, value]
  } catch {
    throw new Misuse(HEADER)
  }
}

function whole (name: Name, text: string | undefined, otherwise: number, most: number): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (!/^\d{1,10}$/.test(text) || value < 1 || value > most) {
    throw new Misuse(`--${name} is a whole number from 1 to ${most}`)
  }
  return value
}

// Threat: a probe that is pointed at somebody else's server is an attack on it.
function mustBeHere ({ hostname }: URL): void {
  const here = hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
  if (!here) {
    throw new Misuse(`${hostname} is another machine. Load it only if it is yours, and then say so: --anywhere`)
  }
}
