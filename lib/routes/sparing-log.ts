/** What is logged about one client has a bound: whoever probes (150 refused messages in 3 s) must not fill the log. */
import type { FastifyRequest } from 'fastify'
import { quiet, type AppLog } from '../core/callbacks.ts'

const LINES = 10
const WINDOW_MS = 60_000

interface Budget { since: number, used: number }

/** Of those about whom something was logged: most never are. */
const budgets = new WeakMap<FastifyRequest, Budget>()

const SILENT: AppLog = { error () {}, warn () {}, info () {}, debug () {} }

/** The log for what one client caused, or one that says nothing when it has caused ten lines within a minute. */
export function sparing (request: FastifyRequest): AppLog {
  const budget = budgetOf(request)
  budget.used++
  if (budget.used <= LINES) return quiet(request.log)
  if (budget.used === LINES + 1) {
    quiet(request.log).info({}, 'realtime: this client causes many log lines; its next ones are skipped for a minute')
  }
  return SILENT
}

function budgetOf (request: FastifyRequest): Budget {
  const now = performance.now()
  const known = budgets.get(request)
  if (known && now - known.since < WINDOW_MS) return known
  const budget = { since: now, used: 0 }
  budgets.set(request, budget)
  return budget
}
