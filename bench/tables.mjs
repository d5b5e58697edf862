// The tables of docs/performance.md, from what a run has written:
//   node bench/tables.mjs bench/results/<file>.json
import { readFileSync } from 'node:fs'

const { node, cpu, cores, results, goals, voids } = JSON.parse(readFileSync(process.argv[2]))

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
const figure = (value) => value === undefined ? 'void' : value >= 100 ? value.toFixed(0) : value.toFixed(2)
const middle = (rounds, metric) => median(rounds.filter(Boolean).map((one) => one[metric]))
const ratio = (ours, theirs, metric) => median(ours.flatMap((one, round) => one && theirs[round] ? [theirs[round][metric] / one[metric]] : []))
const row = (...cells) => `| ${cells.join(' | ')} |`

console.log(`${cores} × ${cpu}, Node ${node}. ${voids.length === 0 ? 'No round was void.' : `Void: ${voids.join('; ')}.`}`)
for (const { work, subscribers, phase, by } of results) {
  const [first] = Object.keys(by)
  const metrics = Object.keys(Object.values(by).flat().find(Boolean) ?? {})
  console.log(`\n**${work}${subscribers ? `, ${subscribers} subscribers` : ''}: ${phase}**\n`)
  console.log(row('', ...metrics, ...metrics.map((metric) => `${metric}, ÷ ${first}`)))
  console.log(row('---', ...metrics.flatMap(() => ['---:', '---:'])))
  for (const [name, rounds] of Object.entries(by)) {
    console.log(row(name, ...metrics.map((metric) => figure(middle(rounds, metric))), ...metrics.map((metric) => figure(ratio(by[first], rounds, metric)))))
  }
}
console.log(`\n${row('goal', 'of', 'is', 'should be at most')}\n${row('---', '---', '---:', '---:')}`)
for (const { row: name, phase, ours, beside, metric, atMost, is } of goals) {
  console.log(row(name, `${ours}${beside ? ` ÷ ${beside}` : ''}, ${metric}, ${phase}`, figure(is), figure(atMost)))
}
