// npm run docs:api: pages made from the public types and their comments, in .cache/api. They are not committed.

import { join } from 'node:path'
import { Application } from 'typedoc'
import { readJson, root } from './project.mjs'

const out = join(root, '.cache/api')

const app = await Application.bootstrap({
  name: 'fastify-realtime',
  entryPoints: entries(),
  tsconfig: join(root, 'tsconfig.json'),
  readme: join(root, 'README.md'),
  out,
  disableSources: true,
  // Types of Fastify's and of the compiler's are named, and have pages of their own elsewhere.
  validation: { notExported: false, invalidLink: true }
})
const project = await app.convert()
if (project) await app.generateOutputs(project)
if (!project || app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1)
console.log(join(out, 'index.html'))

/** What the package exports, where it is written. */
function entries () {
  return Object.values(readJson('package.json').exports)
    .filter((target) => typeof target === 'object')
    .map(({ types, require }) => join(root, (types ?? require.types).replace('./dist/', 'lib/').replace('.d.ts', '.ts')))
}
