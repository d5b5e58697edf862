/** What a scripted server does, and what a client makes of it. */
import type { ClientOrder, ClientSaw, ClientSkill, ClientWire } from './client-contract.ts'
import type { Frame, Line, Said } from './client-line.ts'

export interface Refusal {
  status: number
  headers?: Record<string, string>
  /** The server's word: in Fastify's error shape, or over a WebSocket that is open as an `error` and a `bye`. */
  code?: string
  body?: string
}

/** What the server does when the client dials. */
export interface Turn {
  /** Over a WebSocket the upgrade is answered so; with a `code` the `open` is. */
  refuse?: Refusal
  /** Nothing is said at all. */
  mute?: boolean
  /** ms. Default 25000. */
  heartbeat?: number
  /** What answers that the client wants a topic. Default: a `subscribed` from where it is. */
  joined?: (line: Line, topic: string) => [Frame, ...Said[]]
  /** It is open, and all topics are joined. */
  play?: (line: Line) => void | Promise<void>
}

export interface Scenario {
  wires: ClientWire[]
  needs?: ClientSkill
  order?: Partial<Pick<ClientOrder, 'tokens' | 'topics' | 'patience'>>
  /** One for each dial. Another dial is a fault. */
  turns: Turn[]
  /** So many of the turns need not come. Default 0. */
  spare?: number
  /** What the client tells, all of it, in order. */
  saw: ClientSaw[]
  /** Where the client says that it is, in its only topic or stream: dial for dial. Default: not checked. */
  places?: Array<string | undefined>
  /** What it brings: dial for dial. Default: not checked. */
  tokens?: Array<string | undefined>
  /** ms that are to lie between what ended a dial and the next one. */
  pause?: number
}

/** Scenarios by their names. */
export type Script = Record<string, Scenario>

// --- short words for what recurs -------------------------------------------------------------

export const ENVELOPE: ClientWire[] = ['websocket', 'http']
export const ALL: ClientWire[] = ['websocket', 'http', 'sse']

export const refuse = (status: number, more: Omit<Refusal, 'status'> = {}): Turn => ({ refuse: { status, ...more } })
export const play = (run: NonNullable<Turn['play']>, more: Omit<Turn, 'play'> = {}): Turn => ({ ...more, play: run })
/** A server without faults, which has every event up to `last`. */
export const honest = (last: number): Turn => play((line) => line.honest(last))

export const numbers = (from: number, to: number): ClientSaw[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ saw: 'event', event: 'n', id: String(from + i), data: from + i }))
