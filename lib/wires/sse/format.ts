/**
 * Foreign formats: a stream for clients that know nothing of ours. What the source yields is the data of an unnamed
 * event, and nothing is said besides: no event of ours, and at the end only the format's own words.
 */
import { call } from '../../core/callbacks.ts'
import { hasControl } from '../../core/event-name.ts'
import { FINAL_EVENTS, isPlace, type Entry } from '../../core/event.ts'
import { jsonOf } from '../../core/payload.ts'
import type { Encoder } from '../../core/wire.ts'
import { OptionInvalid } from '../../errors.ts'
import { isRecord, onlyKnown } from '../../known.ts'
import { callable } from '../../options.ts'
import { block, chunk, eventBlock } from './encode.ts'

interface FormatWords {
  headers?: Record<string, string>
  end?: unknown
  error?: unknown
  accept?: (request: never) => unknown
}

const KNOWN: ReadonlySet<string> = new Set(['headers', 'end', 'error', 'accept'] satisfies Array<keyof FormatWords>)
/** What a stream is, no format may change. */
const OURS = /^(content-type|content-length|transfer-encoding|connection)$/i
/** RFC 9110 §5.1 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

const NAMED: Readonly<Record<string, FormatWords>> = {
  data: {},
  // The AI SDK's.
  'ui-message-stream': {
    headers: { 'x-vercel-ai-ui-message-stream': 'v1' },
    end: '[DONE]',
    error: { type: 'error', errorText: 'The answer was broken off.' }
  }
}

export class SourceFormat {
  readonly headers: Readonly<Record<string, string>>
  /** Last words: undefined where the format has none. */
  readonly end: Buffer | undefined
  readonly error: Buffer | undefined
  readonly #accept: FormatWords['accept']
  readonly #framed = new FormatEncoder(true)
  readonly #plain = new FormatEncoder(false)

  constructor ({ headers = {}, end, error, accept }: FormatWords) {
    this.headers = Object.freeze({ ...headers })
    this.end = words('format.end', end)
    this.error = words('format.error', error)
    this.#accept = accept
  }

  /** Every client is given the stream, unless the app tells them apart. */
  accepts (request: unknown): boolean {
    const accept = this.#accept as ((request: unknown) => unknown) | undefined
    const answer = accept === undefined || call(() => accept(request))
    // Nobody waits for a promise: should it reject, nobody would handle it.
    if (answer instanceof Promise) answer.catch(() => {})
    return answer === true
  }

  encoder (framed: boolean): FormatEncoder {
    return framed ? this.#framed : this.#plain
  }
}

class FormatEncoder implements Encoder<Uint8Array> {
  readonly shared = true
  readonly #framed: boolean

  constructor (framed: boolean) {
    this.#framed = framed
  }

  encode (entries: readonly Entry[]): Uint8Array {
    const bytes = Buffer.concat(entries.flatMap((entry) => saysNothing(entry) ? [] : eventBlock(entry, entry.id)))
    return this.#framed ? chunk(bytes) : bytes
  }
}

/** The end of a run is told by its response's end. */
function saysNothing (entry: Entry): boolean {
  return isPlace(entry) || FINAL_EVENTS.has(entry.name)
}

/** @throws OptionInvalid */
export function readFormat (value: unknown): SourceFormat {
  if (typeof value === 'string' && Object.hasOwn(NAMED, value)) return new SourceFormat(NAMED[value] as FormatWords)
  if (!isRecord(value)) {
    throw new OptionInvalid('format',
      `must be one of ${Object.keys(NAMED).join(', ')}, or an object { headers, end, error, accept }`)
  }
  onlyKnown('format', value, KNOWN)
  const { headers = {}, accept } = value as FormatWords
  if (!isRecord(headers)) throw new OptionInvalid('format.headers', 'must be an object')
  for (const [name, text] of Object.entries(headers)) checkHeader(name, text)
  callable('format.accept', accept)
  return new SourceFormat(value as FormatWords)
}

function checkHeader (name: string, text: unknown): void {
  if (!TOKEN.test(name) || OURS.test(name)) {
    throw new OptionInvalid('format.headers', `contains "${name}", which a stream cannot set`)
  }
  if (typeof text !== 'string' || hasControl(text)) {
    throw new OptionInvalid(`format.headers.${name}`, 'must be a string without control characters')
  }
}

function words (option: string, value: unknown): Buffer | undefined {
  if (value === undefined) return undefined
  return block({ data: typeof value === 'string' ? value : jsonOf(option, 'message', value) })
}
