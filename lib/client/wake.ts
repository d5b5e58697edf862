/** Tells when this page was asleep, is hidden, or has no network. Without a page only the clock can show that. */

export interface WakeHost {
  /** Connections may be dead. `slept`: after a sleep, a frozen tab or a new network, they most likely are. */
  awake (slept: boolean): void
  hidden (): void
  offline (): void
}

const TICK_MS = 1000
/** If a timer is so late, the machine has slept or the page was frozen. */
const JUMP_MS = 15_000

/** The used part of a page. */
type Handler = (event: { persisted?: boolean }) => void
interface Page {
  addEventListener (type: string, run: Handler): void
  removeEventListener (type: string, run: Handler): void
}
interface Global extends Partial<Page> {
  document?: Page & { visibilityState: string }
  navigator?: { onLine?: boolean }
}

const page: Global = globalThis as Global

export const isHidden = (): boolean => page.document?.visibilityState === 'hidden'
export const isOffline = (): boolean => page.document !== undefined && page.navigator?.onLine === false

/** Returns what ends it. */
export function watchWake (host: WakeHost): () => void {
  let last = Date.now()
  const jumped = (): boolean => {
    const late = Math.abs(Date.now() - last - TICK_MS)
    last = Date.now()
    return late > JUMP_MS
  }
  const slept = (): void => host.awake(true)
  const timer = setInterval(() => jumped() && slept(), TICK_MS)
  // In Node the timer must not keep the process alive.
  timer.unref?.()

  const visible = (): void => isHidden() ? host.hidden() : host.awake(jumped())
  const heard: Array<[Partial<Page> | undefined, string, Handler]> = [
    [page.document, 'visibilitychange', visible],
    [page.document, 'resume', slept],
    // Only a page from the back/forward cache has slept; the first `pageshow` is no sleep.
    [page, 'pageshow', (event) => { if (event.persisted) slept() }],
    [page, 'online', slept],
    [page, 'offline', host.offline]
  ]
  for (const [target, type, run] of heard) target?.addEventListener?.(type, run)
  return () => {
    clearInterval(timer)
    for (const [target, type, run] of heard) target?.removeEventListener?.(type, run)
  }
}
