/** Tabs of one window, as a browser has them: all but one are hidden, and can be frozen (those of Playwright never are). */
import type { Browser, CDPSession } from 'playwright-core'

interface Answer { id?: number, result?: Record<string, unknown>, error?: { message: string } }
interface Target { targetId: string, sessionId: string }

export interface BareTab {
  /** What an expression is, or resolves to. */
  evaluate<T> (expression: string): Promise<T>
  /** Resolves when the expression is true. */
  until (expression: string): Promise<void>
  send (method: string, params?: object): Promise<Record<string, unknown>>
  /** In front of the others. */
  show (): Promise<void>
  close (): Promise<void>
}

export async function bareTabs (browser: Browser): Promise<(url: string) => Promise<BareTab>> {
  const cdp = await browser.newBrowserCDPSession()
  return async (url) => {
    const { targetId } = await cdp.send('Target.createTarget', { url })
    const { sessionId } = await cdp.send('Target.attachToTarget', { targetId, flatten: false })
    return tabOf(cdp, { targetId, sessionId })
  }
}

function tabOf (cdp: CDPSession, { targetId, sessionId }: Target): BareTab {
  let last = 0
  const waiting = new Map<number, (answer: Answer) => void>()
  cdp.on('Target.receivedMessageFromTarget', ({ sessionId: from, message }) => {
    const answer = JSON.parse(message) as Answer
    if (from !== sessionId || answer.id === undefined) return
    waiting.get(answer.id)?.(answer)
    waiting.delete(answer.id)
  })
  async function send (method: string, params: object = {}): Promise<Record<string, unknown>> {
    const id = ++last
    const answered = new Promise<Answer>((resolve) => waiting.set(id, resolve))
    await cdp.send('Target.sendMessageToTarget', { sessionId, message: JSON.stringify({ id, method, params }) })
    const { result, error } = await answered
    if (error) throw new Error(`${method}: ${error.message}`)
    return result ?? {}
  }
  async function evaluate<T> (expression: string): Promise<T> {
    const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true }) as
      { result: { value: T }, exceptionDetails?: { text: string } }
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.text}`)
    return result.value
  }
  return {
    evaluate,
    async until (expression) { while (!await evaluate<boolean>(expression)) await new Promise((resolve) => setTimeout(resolve, 20)) },
    send,
    async show () { await cdp.send('Target.activateTarget', { targetId }) },
    async close () { await cdp.send('Target.closeTarget', { targetId }) }
  }
}
