/** A page of the inspector without a browser: what it asks, and what it is answered. */
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { connectChannel } from '../../lib/testing/index.ts'

export const PAGE = '/realtime/inspector'

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- answers are read as they come
type Value = any

/** The value of what it is answered; what goes wrong is thrown, with its code. */
export async function openInspector (t: Test, app: FastifyInstance) {
  // A client in memory has no address, so that it is not let in.
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  const client = await connectChannel(app, `${PAGE}/live`, { t, format: 'envelope' })
  const ask = async (name: string, data: object = {}): Promise<Value> => {
    const answer = await client.request(name, data) as { value?: Value, error?: string, code?: string }
    if (answer.error !== undefined) throw Object.assign(new Error(answer.error), { code: answer.code })
    return answer.value
  }
  return { client, ask }
}
