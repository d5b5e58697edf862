import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import test from 'node:test'
import Fastify from 'fastify'
import realtime, { errors, memory } from 'fastify-realtime'
import { connectStream } from 'fastify-realtime/testing'
import scenario from './scenario.cjs'

const require = createRequire(import.meta.url)

test('the package works under node:test', async () => {
  assert.deepEqual(await scenario({ Fastify, realtime, connectStream }), { event: 'status', data: { status: 'shipped' } })
})

test('an app that loads it both ways has one of it', async () => {
  const required = require('fastify-realtime')
  assert.equal(required.default, realtime)
  assert.equal(required.memory, memory)
  assert.equal(required.errors, errors)
  const mixed = { Fastify, realtime: required, connectStream: require('fastify-realtime/testing').connectStream }
  assert.deepEqual(await scenario(mixed), { event: 'status', data: { status: 'shipped' } })
})
