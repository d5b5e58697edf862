/** The script of the chat's page: React, the AI SDK and chat-page/main.js in one file, so that no page asks another server. */
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

export async function chatScript (): Promise<string> {
  const { outputFiles: [file] } = await build({
    entryPoints: [fileURLToPath(new URL('./chat-page/main.js', import.meta.url))],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'error'
  })
  return file!.text
}
