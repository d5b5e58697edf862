/** A resumable source that speaks first after so many microtasks, and what everybody who asked for it has heard. */
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { SourceEvent } from '../../lib/index.ts'
import { connectStream } from '../../lib/testing/index.ts'

export const WORDS = ['one', 'two', 'three']
/** A join in memory takes a few microtasks itself: some of these are before it, some amid it, and some behind it. */
export const MICROTASKS = Array.from({ length: 31 }, (_, count) => count)

/** Declares `/swept/:round/:after`. */
export function declareSwept (app: FastifyInstance): void {
  app.stream('/swept/:round/:after', {
    resumable: { key: ({ params }) => `${params.round}/${params.after}` },
    async * source ({ params }): AsyncGenerator<SourceEvent> {
      for (let i = Number(params.after); i > 0; i--) await undefined
      for (const data of WORDS) yield { event: 'word', data }
    }
  })
}

/** So many ask at the same moment, on these apps in turn. */
export async function heardAfter (t: Test, apps: readonly FastifyInstance[], microtasks: number, clients: number): Promise<unknown[][]> {
  return await Promise.all(Array.from({ length: clients }, async (_, i) => {
    const client = await connectStream(apps[i % apps.length] as FastifyInstance, `/swept/${clients}/${microtasks}`, { t })
    await client.next('realtime:end')
    await client.close()
    return client.events.filter(({ event }) => event === 'word').map(({ data }) => data)
  }))
}
