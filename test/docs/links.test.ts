/** Nothing in the README, in docs/ and beside them points to what is not there, and every page can be found. */
import { posix } from 'node:path'
import t from 'tap'
import { brokenLinks, documents, pages, read } from '../helpers/docs.ts'

for (const document of documents) {
  t.test(`the links of ${document} lead somewhere`, async (t) => {
    t.same(brokenLinks(document), [])
  })
}

t.test('the documents that are looked at are those at the root, those of docs/ and those of the examples', async (t) => {
  for (const document of ['README.md', 'CONTRIBUTING.md', 'PROTOCOL.md', 'SECURITY.md', 'CHANGELOG.md', 'docs/README.md', 'docs/guides/streams.md',
    'docs/reference/options.md', 'examples/petstore/README.md']) t.ok(documents.includes(document), document)
})

t.test('a link to nothing is found', async (t) => {
  const wrong = ['[a](nothing.md)', '[a](#nothing)', '[a](../README.md#nothing)', '[a](../../../README.md)', '![a](nothing.png)', 'see docs/nothing.md']
  for (const text of wrong) t.equal(brokenLinks('docs/README.md', text).length, 1, text)
  const right = ['[a](../README.md)', '[`a`](../README.md#a-first-stream)', '[a](https://example.com/#nothing)', 'docs/README.md', '```md\n[a](nothing.md)\n```']
  for (const text of right) t.same(brokenLinks('docs/README.md', text), [], text)
})

const targetsOf = (page: string): string[] =>
  [...read(page).matchAll(/\]\(([^)#\s]+)/g)].map(([, target = '']) => posix.join(posix.dirname(page), target))

t.test('the README leads to the list of pages, and that to every page of docs/', async (t) => {
  t.ok(targetsOf('README.md').includes('docs/README.md'))
  const targets = targetsOf('docs/README.md')
  t.same(pages.filter((page) => !page.endsWith('README.md') && !targets.includes(page)), [])
})
