// A Nest app on Fastify, without a compiler: what the decorators would do is called by hand.
'use strict'
require('reflect-metadata')
const { Module } = require('@nestjs/common')
const { NestFactory } = require('@nestjs/core')
const { FastifyAdapter } = require('@nestjs/platform-fastify')
const realtime = require('fastify-realtime')
const { connectStream } = require('fastify-realtime/testing')

class AppModule {}
Module({})(AppModule)

async function main () {
  const nest = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: false })
  await nest.register(realtime)
  const app = nest.getHttpAdapter().getInstance()
  const orders = app.topic('orders')
  app.stream('/orders', { topics: orders })
  await nest.init()
  const client = await connectStream(app, '/orders')
  await orders.publish({}, 'status', { status: 'shipped' })
  const { event } = await client.next()
  await client.close()
  await nest.close()
  console.log(event)
}

main()
