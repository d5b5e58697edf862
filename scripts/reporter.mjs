// tap's reporter: a line for each file, failures and their output in full, and at the end
// "N passed, N failed, N skipped".

import { Transform } from 'node:stream'
import { inspect } from 'node:util'
import { Parser } from 'tap-parser'

const TOTALS = /# \{ total: \d+, (.*) \}/
const NOT_WORTH_PRINTING = new Set(['args', 'at', 'command', 'cwd', 'externalID', 'stdio', 'tapCaught'])

export default class Reporter extends Transform {
  #tap = new Parser()
  #totals = { passed: 0, failed: 0, skipped: 0 }

  constructor () {
    super({ encoding: 'utf8' })
    this.#tap.on('child', (file) => this.#file(file))
    this.#tap.on('extra', (text) => this.#output.push(text.replace(/^ {4}/gm, '')))
    this.#tap.on('comment', (text) => this.#count(text))
    this.#tap.on('bailout', (reason) => this.#print(`Bail out! ${reason}`))
    this.#tap.on('assert', (result) => this.#fileResult(result))
  }

  _transform (chunk, encoding, done) {
    this.#tap.write(chunk)
    done()
  }

  _flush (done) {
    this.#tap.end()
    const { passed, failed, skipped } = this.#totals
    this.#print(`${passed} passed, ${failed} failed, ${skipped} skipped`)
    done()
  }

  #print (text) {
    this.push(text + '\n')
  }

  #notes = []
  #output = []
  #failures = 0

  #file (parser) {
    this.#notes = []
    this.#output = []
    this.#failures = 0
    this.#listen(parser)
  }

  #listen (parser) {
    parser.on('child', (child) => this.#listen(child))
    let before = this.#failures
    parser.on('assert', (result) => {
      const said = this.#failures > before // by a subtest that this result closes
      before = this.#failures
      const name = [parser.fullname, result.name].filter(Boolean).join(' > ')
      if (result.skip || result.todo) this.#notes.push(`  - skipped: ${name}${reason(result)}`)
      else if (!result.ok && !said) this.#failed(name, result.diag)
      before = this.#failures
    })
  }

  #failed (name, diag) {
    this.#failures++
    this.#notes.push(`  ✗ ${name}`, ...describe(diag))
  }

  #fileResult (result) {
    const skipped = result.skip || result.todo
    if (!result.ok && !skipped && this.#failures === 0) this.#failed(result.name, result.diag)
    const mark = skipped ? '-' : result.ok ? '✓' : '✗'
    this.#print(`${mark} ${result.name}${skipped ? reason(result) : ''} (${Math.round(result.time ?? 0)} ms)`)
    this.#notes.forEach((line) => this.#print(line))
    if (!result.ok && this.#output.length > 0) this.#print(indent(`printed by this file:\n${this.#output.join('').trimEnd()}`))
  }

  #count (text) {
    const totals = TOTALS.exec(text)
    if (!totals) return
    const { pass = 0, fail = 0, skip = 0, todo = 0 } =
      Object.fromEntries(totals[1].split(', ').map((part) => part.split(': ')))
    this.#totals = { passed: +pass, failed: +fail, skipped: +skip + +todo }
  }
}

function reason ({ skip, todo }) {
  const text = [skip, todo].find((value) => typeof value === 'string' && value !== '')
  return text ? ` (${text})` : ''
}

function * describe (diag) {
  if (!diag) return
  const { fileName, lineNumber, columnNumber } = diag.at ?? {}
  if (fileName) yield indent(`at ${fileName}:${lineNumber}:${columnNumber}`)
  for (const [key, value] of Object.entries(diag)) {
    if (!NOT_WORTH_PRINTING.has(key)) yield indent(entry(key, value))
  }
}

function entry (key, value) {
  const text = typeof value === 'string' ? value.trimEnd() : inspect(value, { depth: 6 })
  return text.includes('\n') ? `${key}:\n${indent(text)}` : `${key}: ${text}`
}

function indent (text) {
  return text.replace(/^(?=.)/gm, '    ')
}
