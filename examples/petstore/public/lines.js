/** In each card: the lines of the server that are behind it. */
import { byId, el, toast } from './dom.js'
import { api } from './person.js'

export async function showLines () {
  try {
    for (const [card, { file, text }] of Object.entries(await api('GET', '/v1/lines'))) show(card, file, text)
  } catch (error) {
    toast(error.message)
  }
}

function show (card, file, text) {
  const panel = byId(card)
  panel.querySelector(':scope > footer').before(el('details', { className: 'lines' },
    el('summary', {}, 'The server lines'),
    // To be scrolled with the keyboard too.
    el('pre', { tabIndex: 0, role: 'region', ariaLabel: `Lines of ${file}` }, el('code', {}, text)),
    el('p', { className: 'hint' }, `examples/petstore/${file}`)))
}
