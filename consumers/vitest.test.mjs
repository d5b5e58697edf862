import Fastify from 'fastify'
import realtime from 'fastify-realtime'
import { redis } from 'fastify-realtime/redis'
import { connectStream } from 'fastify-realtime/testing'
import { expect, test } from 'vitest'
import scenario from './scenario.cjs'

test('the package works under Vitest', async () => {
  expect(await scenario({ Fastify, realtime, connectStream })).toEqual({ event: 'status', data: { status: 'shipped' } })
  expect(typeof redis).toBe('function')
})
