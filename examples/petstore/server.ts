import { buildApp } from './app.ts'

const port = Number(process.env.PORT ?? 3000)
const host = process.env.HOST ?? '127.0.0.1'

if (!Number.isInteger(port) || port < 0 || port > 65535) {
  console.error(`PORT must be a number from 0 to 65535, not '${process.env.PORT}'.`)
  process.exit(1)
}

const app = await buildApp({
  logger: { level: process.env.LOG_LEVEL ?? 'warn' },
  redisUrl: process.env.REDIS_URL,
  node: process.env.NODE_NAME
})

try {
  const url = await app.listen({ port, host })
  console.log(`Pet store: ${url}`)
  console.log(`What its clients do: ${url}/realtime/inspector`)
  // One of several nodes is not what is opened.
  if (process.env.NODE_NAME === undefined) console.log('Open it in two windows: each is another person. Ctrl+C ends it.')
} catch (error) {
  console.error((error as NodeJS.ErrnoException).code === 'EADDRINUSE'
    ? `Port ${port} is in use; choose another with PORT=${port + 1} npm start`
    : error)
  process.exit(1)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    app.close().then(() => process.exit(0), error => {
      console.error(error)
      process.exit(1)
    })
  })
}
