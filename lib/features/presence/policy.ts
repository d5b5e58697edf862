/** The declaration of a topic's presence. */
import type { FastifyRequest } from 'fastify'
import type { LeaveReason } from '../../core/adapter.ts'
import type { Identity } from '../../core/identity.ts'
import type { Check } from '../../core/validation.ts'

/** A member, as the app gets it. */
export interface Member { id: string, info?: unknown, state?: unknown }

export interface PresencePolicy {
  /** ms */
  readonly grace: number
  readonly mode: 'members' | 'count'
  readonly maxMembers: number
  /** Bytes of JSON. */
  readonly maxInfoBytes: number
  readonly maxStateBytes: number
  readonly event: string
  readonly id: ((identity: Identity) => unknown) | undefined
  readonly info: ((identity: Identity, request: FastifyRequest) => unknown) | undefined
  /** Undefined: clients may not show a state. */
  readonly state: Check | undefined
  readonly onJoin: ((member: Member, context: { topic: string }) => unknown) | undefined
  readonly onLeave: ((member: { id: string }, context: { topic: string, reason: LeaveReason }) => unknown) | undefined
}
