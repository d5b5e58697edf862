/** What a scripted server does, and what a client must make of it. */
import type { ClientOrder, ClientSaw, ClientSkill, ClientWire } from './client-contract.ts'
import type { Frame, Line, Said } from './client-line.ts'

export interface Refusal {
  status: number
  headers?: Record<string, string>
  /** The error code: in Fastify's error shape, or on an open WebSocket as an `error` and a `bye`. */
  code?: string
  body?: string
}

/** What the server does when the client connects. */
export interface Turn {
  /** The answer to the upgrade; with a `code`, the answer to the `open` frame. */
  refuse?: Refusal
  /** True: the server sends nothing. */
  mute?: boolean
  /** ms. Default 25000. */
  heartbeat?: number
  /** Answers a `subscribe`. Default: a `subscribed` from the client's own position. */
  joined?: (line: Line, topic: string) => [Frame, ...Said[]]
  /** Runs when the connection is open and all topics are joined. */
  play?: (line: Line) => void | Promise<void>
}

export interface Scenario {
  wires: ClientWire[]
  needs?: ClientSkill
  order?: Partial<Pick<ClientOrder, 'tokens' | 'topics' | 'patience'>>
  /** One turn for each time that the client connects. Connecting once more is a fault. */
  turns: Turn[]
  /** How many of the turns need not happen. Default 0. */
  spare?: number
  /** Everything that the client must tell, in order. */
  saw: ClientSaw[]
  /** The cursor that the client sends for its only topic or stream, each time it connects. Default: not checked. */
  places?: Array<string | undefined>
  /** The token that the client sends each time it connects. Default: not checked. */
  tokens?: Array<string | undefined>
  /** How long the client must wait between the end of one connection and the next, ms. */
  pause?: number
}

/** Scenarios by their names. */
export type Script = Record<string, Scenario>

// --- short names for what recurs -------------------------------------------------------------

export const ENVELOPE: ClientWire[] = ['websocket', 'http']
export const ALL: ClientWire[] = ['websocket', 'http', 'sse']

export const refuse = (status: number, more: Omit<Refusal, 'status'> = {}): Turn => ({ refuse: { status, ...more } })
export const play = (run: NonNullable<Turn['play']>, more: Omit<Turn, 'play'> = {}): Turn => ({ ...more, play: run })
/** A server without faults that has every event up to `last`. */
export const honest = (last: number): Turn => play((line) => line.honest(last))

export const numbers = (from: number, to: number): ClientSaw[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ saw: 'event', event: 'n', id: String(from + i), data: from + i }))
