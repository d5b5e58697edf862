/** Responses as they came over the socket: was it the end, or was it cut? */
import type { Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { dial } from './app.ts'

export interface Answer {
  status: number
  headers: Record<string, string>
  /** Chunks put together. */
  body: string
  /** The last chunk came (RFC 9112 §7.1). */
  whole: boolean
}

/** A request on a connection of its own, up to its end. */
export async function ask (t: Test, app: FastifyInstance, line: string, headers: Record<string, string> = {}, body = ''): Promise<Answer> {
  const client = await dial(t, app)
  client.ask(line, { connection: 'close', ...headers }, body)
  await client.closed
  return answerOf(client.text)
}

export function answerOf (text: string): Answer {
  const end = text.indexOf('\r\n\r\n')
  const [first = '', ...lines] = text.slice(0, end).split('\r\n')
  const headers = Object.fromEntries(lines.map((one) => [one.slice(0, one.indexOf(':')).toLowerCase(), one.slice(one.indexOf(':') + 2)]))
  if (headers['transfer-encoding'] !== 'chunked') return { status: Number(first.split(' ')[1]), headers, body: text.slice(end + 4), whole: true }
  let rest = text.slice(end + 4)
  let body = ''
  for (;;) {
    const size = parseInt(rest, 16)
    if (!(size > 0)) return { status: Number(first.split(' ')[1]), headers, body, whole: size === 0 }
    const start = rest.indexOf('\r\n') + 2
    body += rest.slice(start, start + size)
    rest = rest.slice(start + size + 2)
  }
}

/** Without comments, which say nothing. */
export const said = ({ body }: Answer): string => body.replace(/^:.*\n\n/gm, '')
