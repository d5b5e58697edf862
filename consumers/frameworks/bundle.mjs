// A page's script, as a bundler makes it.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { compile } from 'svelte/compiler'

/** `generate`: for a page (`client`), or for a server that renders (`server`). */
const svelte = (generate) => ({
  name: 'svelte',
  setup (build) {
    build.onLoad({ filter: /\.svelte$/ }, ({ path }) => ({
      contents: compile(readFileSync(path, 'utf8'), { filename: path, generate, dev: generate === 'client' }).js.code
    }))
  }
})

/** In development, where React's StrictMode mounts all twice. */
export async function bundle (contents, options = {}) {
  const { outputFiles: [file] } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)) },
    bundle: true,
    write: false,
    format: 'esm',
    logLevel: 'error',
    // The repository's own would have it take lib/ for the package.
    tsconfigRaw: {},
    define: { 'process.env.NODE_ENV': '"development"', __VUE_OPTIONS_API__: 'true', __VUE_PROD_DEVTOOLS__: 'false', __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false' },
    plugins: [svelte(options.platform === 'node' ? 'server' : 'client')],
    ...options
  })
  return file.text
}
