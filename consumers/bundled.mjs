import Fastify from 'fastify'
import realtime from 'fastify-realtime'
import { redis } from 'fastify-realtime/redis'
import { connectStream } from 'fastify-realtime/testing'
import scenario from './scenario.cjs'

scenario({ Fastify, realtime, connectStream }).then(({ event }) => console.log(event, typeof redis))
