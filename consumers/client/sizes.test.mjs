// What three bundlers make of the client: bytes, minified and compressed, and nothing that a page does not use.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build as esbuild } from 'esbuild'
import { build as vite } from 'vite'
import webpack from 'webpack'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = join(root, '.cache/full/recipes/sizes')
mkdirSync(folder, { recursive: true })

/** The same bound as in test/client/size.test.ts. */
const MOST_OF_CONNECT = Number(/connect\.bytes <= ([\d.]+) \* 1024/.exec(readFileSync(join(root, 'test/client/size.test.ts'), 'utf8'))[1]) * 1024
const LIMITS = { listen: 2048, connect: MOST_OF_CONNECT }
/** What only the other one says. */
const FOREIGN = { listen: /fastify-realtime\.v1|WebSocket/, connect: /text\/event-stream/ }
const SERVER = /require\(|node:|fast-jwt|find-my-way|FST_ERR|Fastify/

const BUNDLERS = {
  async esbuild (entry) {
    const { outputFiles: [file] } = await esbuild({ entryPoints: [entry], bundle: true, minify: true, format: 'esm', target: 'es2022', write: false, tsconfigRaw: {} })
    return file.text
  },
  async vite (entry) {
    const { output: [file] } = await vite({
      configFile: false,
      root: folder,
      logLevel: 'error',
      build: { write: false, target: 'es2022', modulePreload: false, rollupOptions: { input: entry } }
    })
    return file.code
  },
  async webpack (entry) {
    const filename = `${entry.split('/').at(-1)}.packed.js`
    const stats = await new Promise((resolve, reject) => {
      webpack({ entry, mode: 'production', target: ['web', 'es2022'], output: { path: folder, filename } }, (error, stats) => error ? reject(error) : resolve(stats))
    })
    assert.equal(stats.hasErrors(), false, stats.toString('errors-only'))
    return readFileSync(join(folder, filename), 'utf8')
  }
}

for (const [bundler, bundle] of Object.entries(BUNDLERS)) {
  for (const [name, most] of Object.entries(LIMITS)) {
    test(`${bundler}: ${name} alone`, async (t) => {
      const entry = join(folder, `${name}.mjs`)
      writeFileSync(entry, `import { ${name} } from 'fastify-realtime/client'\nglobalThis.run = ${name}\n`)
      const text = await bundle(entry)
      const bytes = gzipSync(text, { level: 9 }).length
      t.diagnostic(`${bytes} bytes`)
      assert.ok(bytes <= most, `${bytes} bytes`)
      // Not an empty one.
      assert.match(text, name === 'listen' ? /text\/event-stream/ : /fastify-realtime\.v1/)
      assert.doesNotMatch(text, FOREIGN[name])
      assert.doesNotMatch(text, SERVER)
    })
  }
}
