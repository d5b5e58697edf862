// One script under every runtime that is here: those of npm packages, whose programs are started as they are.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import realtime from 'fastify-realtime'
import { cutter, until } from '../recipes/helper.mjs'

const script = fileURLToPath(new URL('runtime.mjs', import.meta.url))
const modules = fileURLToPath(new URL('../node_modules/', import.meta.url))
const { arch, platform } = process
const AARCH = { arm64: 'aarch64' }

/** The first that is installed: npm installs the one that is for this machine. */
function program (...files) {
  const found = files.map((file) => modules + file).find((file) => existsSync(file))
  if (!found) throw new Error(`none of ${files.join(', ')} in consumers/node_modules: there is none for ${platform} ${arch}`)
  return found
}

const RUNTIMES = {
  'Node of this machine, with ws': (url) => [process.execPath, script, url, 'ws'],
  'Node 22, with its own WebSocket': (url) => [program(`node-${platform}-${arch}/bin/node`), script, url],
  'Deno 2': (url) => [program(`@deno/${platform}-${arch}-glibc/deno`, `@deno/${platform}-${arch}/deno`), 'run', '--quiet', '--no-config', '--no-lock', '--node-modules-dir=manual', '--allow-all', script, url],
  'Bun 1': (url) => [program(`@oven/bun-${platform}-${AARCH[arch] ?? arch}/bin/bun`), script, url]
}

async function serve (t) {
  const app = Fastify()
  await app.register(realtime, { retry: 20, closeTimeout: 1000 })
  const cut = cutter(app)
  const room = app.topic('rooms/:room', { authorize: () => true })
  const publish = (n) => room.publish({ room: '1' }, 'n', n)
  app.channel('/realtime', {
    subscribe: room,
    messages: {
      say: { handler: async (text) => { await publish(1); return { said: text.length } } },
      cut: {
        handler: async () => {
          cut()
          await publish(2)
          await publish(3)
        }
      }
    }
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.after(() => app.close())
  return { app, url: `${url}/realtime`, publish }
}

for (const [name, command] of Object.entries(RUNTIMES)) {
  test(name, async (t) => {
    const { app, url, publish } = await serve(t)
    const [file, ...args] = command(url)
    const running = promisify(execFile)(file, args, { timeout: 30_000, env: { ...process.env, NO_COLOR: '1', DENO_NO_UPDATE_CHECK: '1' } })
    // It ends first where it fails.
    await Promise.race([until(() => app.realtime.connections()[0]?.topics.length > 0), running.then(({ stdout, stderr }) => assert.fail(`it ended: ${stdout}${stderr}`))])
    await publish(0)
    const lines = (await running).stdout.trim().split('\n').map((line) => JSON.parse(line))
    assert.deepEqual(lines, [{ said: 5 }, { heard: [0, 1, 2, 3], cuts: 1, last: 'closed' }])
  })
}
