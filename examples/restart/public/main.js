/** Counts what the browser's own EventSource hears. It comes back by itself, and says where it was. */
const show = (id, text) => { document.getElementById(id).textContent = text }

const seen = new Set()
let first
let last = 0
let doubled = 0
let disorder = 0
let opened = 0
let silence = 0
let heardAt

const source = new EventSource('/events')

source.onopen = () => {
  show('state', 'Listening')
  show('reconnects', opened++)
}

source.onerror = () => {
  show('state', 'Coming back')
  show('node', 'none')
}

source.addEventListener('node', ({ data }) => show('node', JSON.parse(data).node))

source.addEventListener('tick', ({ data }) => {
  const { n } = JSON.parse(data)
  const now = performance.now()
  silence = Math.max(silence, now - (heardAt ?? now))
  heardAt = now
  if (seen.has(n)) doubled++
  else seen.add(n)
  if (n < last) disorder++
  first ??= n
  last = Math.max(last, n)
  tell(last)
})

source.addEventListener('over', ({ data }) => {
  source.close()
  const missed = tell(JSON.parse(data).last)
  const perfect = missed + doubled + disorder === 0
  show('state', `It is over. ${perfect ? 'Every event was heard, once and in order.' : 'That was not every event, once and in order.'}`)
})

/** How many are missing between the first that was heard and the last that was published. */
function tell (published) {
  const missed = first === undefined ? 0 : published - first + 1 - seen.size
  const numbers = { first: first ?? 0, last, heard: seen.size + doubled, missed, doubled, disorder }
  for (const [id, number] of Object.entries(numbers)) show(id, number)
  show('silence', `${Math.round(silence)} ms`)
  return missed
}
