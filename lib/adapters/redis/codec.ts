/**
 * The body of an event in Redis: `<format> <bytes of name> <bytes of key, or -><fields>\n<name><key><data>`. Redis does
 * not look inside. decode.ts reads and checks it.
 *
 * After the key's length come fields, each a space and `<name>=<text without spaces>`. A reader skips fields that it
 * does not know, so that nodes of two versions can run side by side during a deploy. If an event must not be read by
 * older versions, its field `v` says so.
 *
 * | field | since | holds |
 * | --- | --- | --- |
 * | `v` | 2 | the oldest version that may read this; absent: any |
 * | `x` | 2 | the connection that does not get the event, percent-encoded |
 * | `i` | 2 | the identity that this connection must have, percent-encoded |
 * | `t` | 2 | where the event was published: W3C's `traceparent`. A malformed one is ignored, and is no fault |
 * | `s` | 2 | W3C's `tracestate`, percent-encoded; counts only together with `t` |
 */
import type { EphemeralEvent, Except, Format, TraceContext } from '../../core/adapter.ts'
import { readTrace } from '../../core/trace.ts'

/**
 * The version that this code reads. Version 1 knew no fields, and skips them all. `t` and `s` came later without a new
 * version, because a reader may skip them.
 */
export const VERSION = 2

const FORMATS: Record<Format, string> = { json: 'j', text: 't', binary: 'b' }

export interface Content {
  name: string
  data: Uint8Array
  format: Format
  key?: string
  except?: Except
  trace?: TraceContext
}

/** Text stays a string: ioredis builds a command several times faster if none of its arguments is a Buffer. */
export function encodeBody ({ name, data, format, key, except, trace }: Content): string | Buffer {
  const fields = (except === undefined ? '' : exceptFields(except)) + (trace ? traceFields(trace) : '')
  const keyBytes = key === undefined ? '-' : Buffer.byteLength(key)
  const head = `${FORMATS[format]} ${Buffer.byteLength(name)} ${keyBytes}${fields}\n${name}${key ?? ''}`
  if (format !== 'binary') return head + Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString()
  const size = Buffer.byteLength(head)
  const body = Buffer.allocUnsafe(size + data.byteLength)
  body.write(head)
  body.set(data, size)
  return body
}

/** With an identity longer than this, the event has no `except`: everybody gets it. */
const MAX_IDENTITY = 512

function exceptFields ({ connection, identity }: Except): string {
  if (identity === undefined) return ` x=${encodeURIComponent(connection)}`
  if (identity.length > MAX_IDENTITY || !identity.isWellFormed()) return ''
  return ` x=${encodeURIComponent(connection)} i=${encodeURIComponent(identity)}`
}

/** The trace comes from a tracer of this process, which may have been given anything, so it is checked. */
function traceFields (given: TraceContext): string {
  const trace = readTrace(given.traceparent, given.tracestate)
  if (!trace) return ''
  const { traceparent, tracestate } = trace
  return tracestate === undefined ? ` t=${traceparent}` : ` t=${traceparent} s=${encodeURIComponent(tracestate)}`
}

/** Text that can stand between two spaces. */
const WORD = /^[\x21-\x7e]+$/

/**
 * `! <the connection that does not get it, or -> <body>`. Version 1 reads that connection from here, later versions
 * from the body.
 */
export function encodeEphemeral (event: EphemeralEvent): string | Buffer {
  const { connection = '-' } = event.except ?? {}
  const head = `! ${WORD.test(connection) ? connection : '-'} `
  const body = encodeBody(event)
  return typeof body === 'string' ? head + body : Buffer.concat([Buffer.from(head), body])
}
