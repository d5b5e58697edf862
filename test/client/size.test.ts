/** What a page pays for the client: bytes, minified and compressed, and nothing that it does not use. */
import t from 'tap'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { root } from '../helpers/docs.ts'

async function sizeOf (code: string): Promise<{ bytes: number, text: string }> {
  const { outputFiles: [file] } = await build({
    stdin: { contents: code, resolveDir: `${root}lib/client`, loader: 'ts' }, bundle: true, minify: true, format: 'esm', target: 'es2022', write: false
  })
  return { bytes: gzipSync(file?.contents ?? '', { level: 9 }).length, text: file?.text ?? '' }
}

t.test('connect() alone, listen() alone, and connect() with auto', async (t) => {
  const connect = await sizeOf("import { connect } from './index.ts'; globalThis.run = connect")
  const listen = await sizeOf("import { listen } from './index.ts'; globalThis.run = listen")
  const auto = await sizeOf("import { auto, connect } from './index.ts'; globalThis.run = [auto, connect]")
  t.comment(`connect ${connect.bytes} bytes, listen ${listen.bytes} bytes, connect with auto ${auto.bytes} bytes`)
  t.ok(connect.bytes <= 5.85 * 1024, `connect: ${connect.bytes}`)
  t.ok(listen.bytes <= 2 * 1024, `listen: ${listen.bytes}`)
  t.ok(auto.bytes <= 8.5 * 1024, `auto: ${auto.bytes}`)
  t.notMatch(connect.text, 'text/event-stream')
  t.notMatch(listen.text, 'fastify-realtime.v1')
})

t.test('sharedTabs() alone; connect() holds nothing of it', async (t) => {
  const tabs = await sizeOf("import { sharedTabs } from './tabs.ts'; globalThis.run = sharedTabs")
  const connect = await sizeOf("import { connect } from './index.ts'; globalThis.run = connect")
  t.comment(`sharedTabs ${tabs.bytes} bytes`)
  t.ok(tabs.bytes <= 5.25 * 1024, `sharedTabs: ${tabs.bytes}`)
  t.notMatch(tabs.text, 'fastify-realtime.v1')
  t.notMatch(connect.text, 'another tab leads')
  t.match(tabs.text, 'another tab leads')
})
