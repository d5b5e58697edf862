/** Firefox by WebDriver BiDi, and WebKitGTK by WebDriver: as much of both as a test of a page needs. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fetch } from 'undici'
import { WebSocket } from 'ws'
import { freePort, until, type Teardown } from './redis.ts'

export interface Driver {
  goto (url: string): Promise<void>
  /** What an expression is, as JSON. */
  evaluate (expression: string): Promise<unknown>
}
type Json = Record<string, unknown>

function started (t: Teardown, program: string, args: string[], env: NodeJS.ProcessEnv): ChildProcess {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env } })
  t.teardown(() => end(child))
  return child
}

/** With all that it has started. */
async function end (child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  process.kill(-child.pid, 'SIGKILL')
  await once(child, 'exit')
}

/** What it writes goes with the test. */
function folderFor (t: Teardown): string {
  const folder = mkdtempSync(join(tmpdir(), 'realtime-browser-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }))
  return folder
}

export async function firefox (t: Teardown, program = process.env.FIREFOX_BIN ?? 'firefox'): Promise<Driver> {
  const folder = folderFor(t)
  const child = started(t, program, ['--headless', '--no-remote', '--profile', folder, '--remote-debugging-port=0', 'about:blank'], { HOME: folder })
  const socket = new WebSocket(`${await bidiOf(child)}/session`)
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  const answers = new Map<unknown, { resolve: (result: Json) => void, reject: (error: Error) => void }>()
  socket.on('message', (text) => {
    const { id, type, result, error, message } = JSON.parse(String(text)) as Json
    const answer = answers.get(id)
    answers.delete(id)
    if (type === 'error') answer?.reject(new Error(`${String(error)}: ${String(message)}`))
    else answer?.resolve(result as Json)
  })
  let id = 0
  const ask = (method: string, params: Json): Promise<Json> => new Promise((resolve, reject) => {
    answers.set(++id, { resolve, reject })
    socket.send(JSON.stringify({ id, method, params }))
  })
  await ask('session.new', { capabilities: {} })
  const { contexts } = await ask('browsingContext.getTree', {}) as { contexts: Array<{ context: string }> }
  const context = contexts[0]?.context
  return {
    async goto (url) { await ask('browsingContext.navigate', { context, url, wait: 'complete' }) },
    async evaluate (expression) {
      const answer = await ask('script.evaluate', { expression: `Promise.resolve(${expression}).then((value) => JSON.stringify(value))`, target: { context }, awaitPromise: true })
      const { result, exceptionDetails } = answer as { result?: { value?: string }, exceptionDetails?: { text: string } }
      if (exceptionDetails) throw new Error(exceptionDetails.text)
      return result?.value === undefined ? undefined : JSON.parse(result.value)
    }
  }
}

async function bidiOf (child: ChildProcess): Promise<string> {
  const lines = createInterface({ input: child.stderr as NodeJS.ReadableStream })
  for await (const line of lines) {
    const url = /WebDriver BiDi listening on (\S+)/.exec(line)?.[1]
    if (url === undefined) continue
    child.stderr?.resume()
    return url
  }
  throw new Error('Firefox ended as soon as it was started')
}

/** It has no headless mode: its windows are drawn by Xvfb, which finds a display of its own. */
export async function webkit (t: Teardown, program = process.env.WEBKIT_DRIVER_BIN ?? 'WebKitWebDriver'): Promise<Driver> {
  const folder = folderFor(t)
  const screen = started(t, process.env.XVFB_BIN ?? 'Xvfb', ['-displayfd', '3', '-nolisten', 'tcp'], {})
  screen.stderr?.resume()
  const [display] = await once(screen.stdio[3] as NodeJS.ReadableStream, 'data') as [Buffer]
  const port = await freePort()
  const child = started(t, program, [`--port=${port}`, '--host=127.0.0.1'], { HOME: folder, DISPLAY: `:${String(display).trim()}` })
  child.stderr?.resume()
  const ask = async (path: string, body?: Json): Promise<unknown> => {
    const request = body ? { method: 'POST', body: JSON.stringify(body) } : {}
    const { value } = await (await fetch(`http://127.0.0.1:${port}${path}`, request)).json() as { value: unknown }
    const { error, message } = Object(value) as Json
    if (error !== undefined) throw new Error(`${String(error)}: ${String(message)}`)
    return value
  }
  await until('its driver', async () => await ask('/status'))
  const options = { 'webkitgtk:browserOptions': { binary: process.env.WEBKIT_BIN, args: ['--automation'] } }
  const { sessionId } = await ask('/session', { capabilities: { alwaysMatch: options } }) as { sessionId: string }
  return {
    async goto (url) { await ask(`/session/${sessionId}/url`, { url }) },
    async evaluate (expression) {
      const script = `return Promise.resolve(${expression}).then((value) => JSON.stringify(value))`
      const text = await ask(`/session/${sessionId}/execute/sync`, { script, args: [] }) as string | null
      return text === null ? undefined : JSON.parse(text)
    }
  }
}
