// The Prometheus server that the long tests start: $PROMETHEUS_BIN, one on PATH, or Debian's package.

import { aptInstall, given, onPath } from './programs.mjs'

/** Resolves with a path, or with undefined after it has said what to do. */
export async function findPrometheus () {
  if (process.env.PROMETHEUS_BIN) return given('PROMETHEUS_BIN')
  if (!onPath('prometheus')) await aptInstall('prometheus')
  const found = onPath('prometheus')
  if (!found) console.error('The long tests need prometheus: install it, e.g. "apt-get install prometheus", or set PROMETHEUS_BIN to its path.')
  return found
}
