/** Numbers and times, as they are read. */

export function count (value: number): string { return value.toLocaleString('en') }

/** `1 event`, `2 events` */
export function many (value: number, noun: string): string { return `${count(value)} ${noun}${value === 1 ? '' : 's'}` }

export function rate (value: number): string {
  return value >= 10 || value === 0 ? count(Math.round(value)) : value.toFixed(1)
}

const UNITS: ReadonlyArray<readonly [number, string]> = [
  [86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1000, 's']
]

/** `3 min 20 s` */
export function duration (ms: number): string {
  if (ms < 1000) return ms < 0 ? '–' : '0 s'
  const first = UNITS.findIndex(([unit]) => ms >= unit)
  const [unit, name] = UNITS[first] as readonly [number, string]
  const next = UNITS[first + 1]
  const rest = next ? Math.floor(ms % unit / next[0]) : 0
  return `${Math.floor(ms / unit)} ${name}${next && rest > 0 ? ` ${rest} ${next[1]}` : ''}`
}

export function bytes (value: number): string {
  if (value < 1024) return `${value} B`
  return value < 1 << 20 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / (1 << 20)).toFixed(1)} MiB`
}

/** Names of nodes are long, and their ends tell them apart well enough. */
export function shortNode (node: string): string { return node.length > 8 ? node.slice(0, 8) : node }

export function clock (at: number): string {
  const date = new Date(at)
  return `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, '0')}`
}
