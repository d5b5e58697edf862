/** A client in a process of its own, in any language. Both sides speak in lines of JSON. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { ClientSaw, DriveClient } from './client-contract.ts'

const LEAVE_MS = 5000

/**
 * Drives a client in another process: `clientSuite({ connect: childClient('python3', ['client.py']) })`. Each trial
 * starts one process. Its first line of stdin is `{"do":"connect"}` with the order. `{"do":"send"}` with a message and
 * `{"do":"close"}` may follow. Each line of its stdout is one thing that it has seen. After `close` it must end by
 * itself within 5 s. Its stderr is passed on.
 */
export function childClient (command: string, args: readonly string[] = []): DriveClient {
  return async (order, tell) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    await once(child, 'spawn')
    let closing = false
    const exited = once(child, 'exit').finally(() => {
      if (!closing) tell({ saw: 'error', code: 'the process of the client has ended' })
    })
    child.stdin.on('error', () => {})
    const say = (line: object): void => { child.stdin.write(`${JSON.stringify(line)}\n`) }
    createInterface({ input: child.stdout }).on('line', (line) => tell(seen(line)))
    say({ do: 'connect', ...order })
    return {
      send: (message) => say({ do: 'send', ...message }),
      async close () {
        closing = true
        say({ do: 'close' })
        child.stdin.end()
        const timer = setTimeout(() => child.kill('SIGKILL'), LEAVE_MS)
        const [code, signal] = await exited as [number | null, string | null]
        clearTimeout(timer)
        if (code !== 0) throw new Error(`the client's process has ended with ${code ?? signal ?? ''}`)
      }
    }
  }
}

/** What is no line of JSON is told as it is, and is a fault. */
function seen (line: string): ClientSaw {
  try {
    return JSON.parse(line) as ClientSaw
  } catch {
    return { saw: 'error', code: `not JSON: ${line}` }
  }
}
