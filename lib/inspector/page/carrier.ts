/** What carries one tried client, and what it tells. Each speaks to the app as any page does. */
import type { Opening } from './code.ts'

export interface Plan extends Opening {
  /** Of the topics that it hears: by these its events are checked. */
  patterns: string[]
}

/** One thing that came. `frame`: of the protocol; `bytes`: no schema is for it. */
export interface Heard {
  name: string
  data: unknown
  raw: string
  topic?: string
  id?: string
  frame?: boolean
  bytes?: boolean
}

/** Nothing reaches a client that has been left. */
export interface CarrierHost {
  readonly plan: Plan
  /** Where the client is, by topic; a stream has one cursor, whose name is `''`. */
  readonly cursors: Map<string, string>
  /** A new name for a request: by it the server is asked which connection it has become. */
  mark (): string
  opened (how: string): void
  /** It is over, which is told once. */
  cut (how: string, why: string): void
  heard (heard: Heard): void
  /** Something was sent. */
  said (name: string, data: unknown, raw: string): void
}

export interface Carrier {
  /** @throws Error where it is not open */
  send (event: string, data: unknown): void
  /** Hears this topic too. `plan.join` has it already. @throws Error where it is not open */
  join (topic: string): void
  close (): void
}

/** Of an answer that is no stream, so much is shown. */
export const MAX_BODY = 2000

export class NotOpen extends Error {
  constructor () { super('This client is not connected. Resume it first.') }
}

export function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
