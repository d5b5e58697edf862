/* global test, expect */
'use strict'
const Fastify = require('fastify')
const realtime = require('fastify-realtime')
const { redis } = require('fastify-realtime/redis')
const { connectStream } = require('fastify-realtime/testing')
const scenario = require('./scenario.cjs')

test('the package works under Jest', async () => {
  expect(await scenario({ Fastify, realtime, connectStream })).toEqual({ event: 'status', data: { status: 'shipped' } })
  expect(typeof redis).toBe('function')
})
