/** What the pet store's page says of itself, to everybody: at once, on a phone, with a screen reader, and to who reads code. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import t from 'tap'
import { fetch } from 'undici'
import { mostLines, sources } from '../examples/petstore/lines.ts'
import { root } from './helpers/docs.ts'
import { browser, startShop } from './helpers/petstore.ts'

// A browser on a busy machine takes its time.
t.setTimeout(240_000)
t.teardown(() => browser.close())

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const sizes = [{ width: 1280, height: 900 }, { width: 390, height: 844 }]

interface Violation { id: string, impact: string, nodes: Array<{ target: string[] }> }

for (const colorScheme of ['light', 'dark'] as const) {
  for (const viewport of sizes) {
    t.test(`${colorScheme}, ${viewport.width} px: the product and the proof come first, and axe finds nothing serious`, async t => {
      const shop = await startShop(t, { realtime: { retry: 300 } })
      const window = await shop.open('Ada', { colorScheme, viewport, reducedMotion: 'reduce' })
      const { page } = window
      t.match(await page.locator('.top').textContent(), /fastify-realtime: live updates for Fastify/)
      t.match(await page.locator('.top').textContent(), /two windows, bid in one and watch the other/)

      const bottom = async (selector: string) => {
        const box = (await page.locator(selector).boundingBox())!
        return box.y + box.height
      }
      const firstCard = (await page.locator('.panel').first().boundingBox())!.y
      for (const proof of ['#cut-button', '[data-count="missed"]', '[data-count="doubled"]']) {
        t.ok(await bottom(proof) < Math.min(firstCard, viewport.height), `${proof} is above the cards, and on the first screen`)
      }

      await page.locator('#cut-button').click()
      await page.locator('#cut-note', { hasText: /5 of 5 arrived, in order, none missed and none twice/ }).waitFor()
      for (const [what, expected] of [['missed', '0'], ['doubled', '0'], ['reconnects', '1']] as const) {
        t.equal(await page.locator(`[data-count="${what}"]`).textContent(), expected, what)
      }
      await page.locator('[data-raise="5"]').click()
      await page.locator('#auction-banner', { hasText: 'in the lead' }).waitFor()
      await page.locator('[data-pet="019b4155"] .adopt').click()
      await page.locator('[data-pet="019b4155"] .adopt:disabled').waitFor()
      for (const summary of await page.locator('.lines summary').all()) await summary.click()
      t.equal(await page.evaluate(() => document.documentElement.scrollWidth), viewport.width, 'lines scroll in their card, not the page')

      // Evaluated as the debugger does it: the page's policy lets no foreign script in.
      await page.evaluate(axe)
      const found = await page.evaluate<Violation[]>('axe.run().then(({ violations }) => violations)')
      const grave = found.filter(({ impact }) => impact === 'serious' || impact === 'critical')
      t.same(grave.map(({ id, nodes }) => [id, nodes.map(({ target }) => target.join(' '))]), [])
      shop.consolesAreEmpty()
    })
  }
}

t.test('each card shows the lines of the server behind it, as they stand in the source', async t => {
  const shop = await startShop(t)
  const { page } = await shop.open('Ada')
  t.same(await page.locator('.panel').evaluateAll(panels => panels.map(({ id }) => id).sort()), Object.keys(sources).sort(), 'every card has some')
  for (const [card, file] of Object.entries(sources)) {
    const shown = await page.locator(`#${card} .lines code`).textContent() ?? ''
    const lines = shown.split('\n')
    t.ok(lines.length >= 3 && lines.length <= mostLines, `${card}: ${lines.length} lines`)
    const source = readFileSync(`${root}examples/petstore/${file}`, 'utf8').split('\n')
    const start = source.findIndex(line => line.trim() === lines[0]!.trim())
    t.same(source.slice(start, start + lines.length).map(line => line.trim()), lines.map(line => line.trim()), `${card}: ${file}`)
    t.equal(await page.locator(`#${card} .lines .hint`).textContent(), `examples/petstore/${file}`)
  }
  shop.consolesAreEmpty()
})

t.test('the page may load nothing but its own files', async t => {
  const shop = await startShop(t)
  const policy = (await fetch(shop.url)).headers.get('content-security-policy') ?? ''
  t.match(policy, /default-src 'self'/)
  t.notMatch(policy, /unsafe|https?:|\*/)
})

t.test('an adopted pet is shown as adopted in every window, and offered nowhere any more', async t => {
  const shop = await startShop(t)
  const [ada, ben] = [await shop.open('Ada'), await shop.open('Ben')]
  await ada.page.locator('[data-raise="5"]').click()
  await ben.page.locator('#auction-leader', { hasText: 'Ada' }).waitFor()
  await ada.page.locator('[data-pet="019b4132"] .adopt').click()
  for (const { page } of [ada, ben]) {
    await page.locator('[data-pet="019b4132"] .adopt:disabled', { hasText: 'Adopted' }).waitFor()
    t.equal(await page.locator('[data-pet="019b4132"]').locator('button:enabled, select:enabled').count(), 0)
    await page.locator('#order-form option:disabled', { hasText: 'Whiskers (adopted)' }).waitFor({ state: 'attached' })
    await page.locator('#auction-form button[type="submit"]:disabled').waitFor()
    await page.locator('#auction-banner', { hasText: 'Over: adopted meanwhile.' }).waitFor()
  }
  const late = await shop.open('Cleo')
  await late.page.locator('[data-pet="019b4132"] .adopt:disabled', { hasText: 'Adopted' }).waitFor()
  await late.page.locator('#auction-form button[type="submit"]:disabled').waitFor()
  shop.consolesAreEmpty()
})
