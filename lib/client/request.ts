/** Requests to a channel (PROTOCOL.md 4.9), and their refusals. */
import { mayComeBack } from './http-status.ts'
import type { Place } from './wire.ts'

export interface Asked {
  body: string | Uint8Array<ArrayBuffer>
  token: string | undefined
  accept: string
  signal: AbortSignal
}

export async function request ({ url, fetch: own }: Place, { body, token, accept, signal }: Asked): Promise<Response> {
  const type = typeof body === 'string' ? 'json' : 'octet-stream'
  return await (own ?? fetch)(url.replace(/^ws/, 'http'), {
    method: 'POST',
    body,
    signal,
    cache: 'no-store',
    headers: { accept, 'content-type': `application/${type}`, ...token && { authorization: `Bearer ${token}` } }
  })
}

/** `status`: 0 if there was no answer, or one that is not the server's. */
export interface Refusal {
  status: number
  /** The server's error code; empty if it gave none. */
  code: string
  message: string
  /** When to come back, ms. */
  retry: number | undefined
}

export const CUT: Refusal = { status: 0, code: '', message: 'connection lost', retry: undefined }

/** Reads a refusal. Its code is the same as over a WebSocket (PROTOCOL.md section 5). */
export async function refusalOf (response: Response): Promise<Refusal> {
  const { status, headers } = response
  const { code, message } = await errorOf(response)
  const after = mayComeBack(status) ? headers.get('retry-after') : null
  return {
    // A 200 without a stream is the page of a proxy, or of a network that wants a login first.
    status: status === 200 ? 0 : status,
    code: code === undefined ? '' : String(code).replace(/^FST_ERR_REALTIME_/, ''),
    message: String(message ?? `answered ${status}`),
    retry: after === null ? undefined : delayIn(after)
  }
}

async function errorOf (response: Response): Promise<{ code?: unknown, message?: unknown }> {
  if (/^application\/json\b/i.test(response.headers.get('content-type') ?? '')) {
    return await response.json().then(Object, () => ({})) as object
  }
  response.body?.cancel().catch(() => {})
  return {}
}

/** `after`: seconds, or a date. */
function delayIn (after: string): number | undefined {
  const ms = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
