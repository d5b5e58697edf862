/**
 * Shows that nothing was lost: after each return, and at the end, the server says how far it is and what its text comes
 * to; as soon as this window has got as far, its own text is held against that.
 */
import { byId, el } from './dom.js'
import { howFar } from './follow.js'
import { tally } from './tally.js'

const rows = ['words', 'characters', 'checksum']
const wordsOf = count => count === 1 ? '1 word' : `${count} words`

export function startProof (answerId, textNow) {
  let away
  let waiting = []
  let over = false
  let closed = false
  byId('cuts').replaceChildren()
  for (const row of rows) show(row, '–', '–')
  verdict('waiting', 'Compared after each reconnect, and at the end.')

  function show (row, here, there) {
    byId(`here-${row}`).textContent = here
    byId(`there-${row}`).textContent = there
  }

  function verdict (kind, text) {
    byId('verdict').dataset.kind = kind
    byId('verdict').textContent = text
  }

  /** Asks the server how far it is. */
  async function ask (returned, final = false) {
    const there = await howFar(answerId)
    if (closed) return
    waiting.push({ there, returned, final })
    compare()
  }

  function compare () {
    const text = textNow()
    waiting = waiting.filter(one => {
      if (!over && text.length < one.there.characters) return true
      judge(one, text)
      return false
    })
  }

  function judge ({ there, returned, final }, text) {
    // At the end neither side may have more than the other.
    const here = tally(final ? text : text.slice(0, there.characters))
    const equal = rows.every(row => here[row] === there[row])
    if (returned !== undefined) tell(returned, there.words - returned.words, equal)
    if (there.characters === 0 || (over && !final)) return
    for (const row of rows) show(row, here[row].toLocaleString('en'), there[row].toLocaleString('en'))
    if (!equal) verdict('different', 'Not equal: something was lost.')
    else if (final) verdict('whole', 'Equal, to the last word.')
    else verdict('equal', 'Equal, up to this word.')
  }

  function tell ({ node, words, ms }, missed, equal) {
    node.dataset.state = equal ? 'whole' : 'broken'
    node.textContent = `After ${wordsOf(words)}, away for ${(ms / 1000).toFixed(1)} s. ` +
      `${missed > 0 ? wordsOf(missed) : 'No word'} said meanwhile${equal ? ', none missing.' : ', some missing.'}`
  }

  return {
    lost () {
      if (away !== undefined) return
      const { words } = tally(textNow())
      const node = el('li', '', `After ${wordsOf(words)}. Reconnecting…`)
      node.dataset.state = 'away'
      byId('cuts').prepend(node)
      away = { node, words, since: performance.now() }
    },
    async opened () {
      const returned = away && { ...away, ms: performance.now() - away.since }
      away = undefined
      await ask(returned)
    },
    heard: compare,
    async ended () {
      over = true
      await ask(undefined, true)
    },
    gone () {
      if (away === undefined) return
      away.node.dataset.state = 'broken'
      away.node.textContent = `After ${wordsOf(away.words)}. The answer is gone.`
    },
    close () { closed = true }
  }
}
