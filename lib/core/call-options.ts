/** Options that the app gives with a call: checked at each, and read once. */
import type { Id } from './adapter.ts'
import { checkPublishKey } from './event.ts'
import { OptionInvalid, PublishOptionInvalid } from '../errors.ts'
import { isRecord, onlyKnown, record, shown, unknownIn, whyUnknown } from '../known.ts'

export interface PublishKeys { readonly dedupe?: string | undefined, readonly key?: string | undefined, readonly except?: string | undefined }
export interface HistoryRange { readonly after: Id | null, readonly limit: number }
export interface Reason { code?: number | undefined, text?: string | undefined, reconnect?: boolean | undefined }

const PUBLISH: ReadonlySet<string> = new Set(['dedupe', 'key', 'except'] satisfies Array<keyof PublishKeys>)
const HISTORY: ReadonlySet<string> = new Set(['after', 'limit'] satisfies Array<keyof HistoryRange>)
const REASON: ReadonlySet<string> = new Set(['code', 'text', 'reconnect'] satisfies Array<keyof Reason>)
/** Most publishes have none. */
const NO_KEYS: PublishKeys = Object.freeze({})
const DEFAULT_LIMIT = 100
const MAX_LIMIT = 10_000

/** @throws PublishOptionInvalid */
export function readPublishOptions (options: unknown): PublishKeys {
  if (options === undefined) return NO_KEYS
  if (!isRecord(options)) throw new PublishOptionInvalid('options', 'must be an object like { dedupe, key, except }')
  const unknown = unknownIn(options, PUBLISH)
  if (unknown !== undefined) throw new PublishOptionInvalid(shown(unknown), whyUnknown(unknown, PUBLISH))
  const { dedupe, key, except } = options as PublishKeys
  checkPublishKey('dedupe', dedupe)
  checkPublishKey('key', key)
  checkPublishKey('except', except)
  return { dedupe, key, except }
}

/** @throws OptionInvalid */
export function readHistoryOptions (options: unknown): HistoryRange {
  if (options === undefined) return { after: null, limit: DEFAULT_LIMIT }
  record('history()', options)
  onlyKnown('history()', options, HISTORY)
  const { after, limit = DEFAULT_LIMIT } = options as { after?: unknown, limit?: unknown }
  if (after !== undefined && typeof after !== 'string') throw new OptionInvalid('history().after', 'must be the id of an event')
  if (typeof limit !== 'number' || !Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    throw new OptionInvalid('history().limit', `must be a whole number from 1 to ${MAX_LIMIT}`)
  }
  return { after: after ?? null, limit }
}

/** Why a connection is to end; what it says is checked by `customReason`. @throws OptionInvalid */
export function readReason (call: 'close()' | 'disconnect()', reason: unknown): Reason {
  if (reason === undefined) return {}
  record(call, reason)
  onlyKnown(call, reason, REASON)
  const { code, text, reconnect } = reason as Reason
  return { code, text, reconnect }
}
