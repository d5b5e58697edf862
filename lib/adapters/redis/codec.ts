/**
 * An event as Redis holds and carries it: `<format> <bytes of name> <bytes of key, or -><fields>\n<name><key><data>`.
 * Redis does not look inside. What is read again is checked in decode.ts.
 *
 * Fields come behind the key's bytes, each a space and `<name>=<text without spaces>`. A reader skips those that it
 * does not know, so that nodes of two versions run side by side while a deploy rolls; an event that must not be read by
 * one that does not know it says so by `v`.
 *
 * | field | since | holds |
 * | --- | --- | --- |
 * | `v` | 2 | the oldest version that may read this; absent: any |
 * | `x` | 2 | the connection that does not get it, percent-encoded |
 * | `i` | 2 | the identity that this connection must have, percent-encoded |
 * | `t` | 2 | where it was published: W3C's `traceparent`. What is not well formed is left out, and no fault |
 * | `s` | 2 | W3C's `tracestate`, percent-encoded; counts with a `t` alone |
 */
import type { EphemeralEvent, Except, Format, TraceContext } from '../../core/adapter.ts'
import { readTrace } from '../../core/trace.ts'

/** What this code reads. Version 1 knew no fields, and skips them all; `t` and `s` came later, and need no reader. */
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

/** Text stays text: ioredis puts a command together several times as quickly when no argument of it is a Buffer. */
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

/** An identity longer than this is not carried, and the event comes to everybody. */
const MAX_IDENTITY = 512

function exceptFields ({ connection, identity }: Except): string {
  if (identity === undefined) return ` x=${encodeURIComponent(connection)}`
  if (identity.length > MAX_IDENTITY || !identity.isWellFormed()) return ''
  return ` x=${encodeURIComponent(connection)} i=${encodeURIComponent(identity)}`
}

/** From a tracer of this process: it may have been handed anything. */
function traceFields (given: TraceContext): string {
  const trace = readTrace(given.traceparent, given.tracestate)
  if (!trace) return ''
  const { traceparent, tracestate } = trace
  return tracestate === undefined ? ` t=${traceparent}` : ` t=${traceparent} s=${encodeURIComponent(tracestate)}`
}

/** What may stand between two spaces. */
const WORD = /^[\x21-\x7e]+$/

/** `! <the connection that does not get it, or -> <body>`. The body says so too, and more; version 1 reads the word. */
export function encodeEphemeral (event: EphemeralEvent): string | Buffer {
  const { connection = '-' } = event.except ?? {}
  const head = `! ${WORD.test(connection) ? connection : '-'} `
  const body = encodeBody(event)
  return typeof body === 'string' ? head + body : Buffer.concat([Buffer.from(head), body])
}
