/** What the plugin gives to those who make routes. */
import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify'
import type { Hub } from '../core/hub.ts'
import type { Check } from '../core/validation.ts'
import type { BegunRuns } from '../features/resumable/begun-runs.ts'
import type { Runs, RunSettings } from '../features/resumable/runs.ts'
import type { Grants } from '../features/grants/grants.ts'
import type { Limits, LiveSettings, Settings } from '../options.ts'
import type { ChannelLimits } from '../types/channel.ts'
import type { Arrivals } from './arrivals.ts'
import type { Declarations } from './declarations.ts'
import type { Presence } from '../features/presence/presence.ts'
import type { Hosts } from './hosts.ts'
import type { Peers } from './peer.ts'
import type { PresenceMode } from './presence.ts'

export interface WireContext {
  readonly hub: Hub
  readonly declarations: Declarations
  readonly runs: Runs
  readonly presence: Presence
  readonly presenceMode: (value: unknown) => PresenceMode
  readonly begun: BegunRuns
  readonly grants: Grants
  readonly peers: Peers
  readonly arrivals: Arrivals
  /** Requests with a body, which may never end. */
  readonly posts: { readonly onRequest: onRequestHookHandler, close (timeoutMs: number): void }
  readonly settings: Settings
  /** The settings that a route may override, checked. */
  readonly live: (options: Partial<LiveSettings>) => LiveSettings
  readonly limits: (options: ChannelLimits | undefined) => Limits
  readonly retry: (value: unknown) => number
  readonly resumable: (value: unknown) => RunSettings & {
    readonly key: ((request: FastifyRequest) => unknown) | undefined
    readonly space: string | undefined
    readonly start: 'POST' | undefined
  }
  readonly open: (value: unknown) => 'event' | 'id' | false
  readonly origins: (value: unknown) => readonly string[] | '*'
  readonly hosts: (value: unknown) => Hosts
  /** A check for what clients send, made from its schema when the app becomes ready. */
  readonly validator: (scope: FastifyInstance, what: string, schema: unknown, own: unknown) => Check
  /** Does the app describe its routes by JSON schema? */
  readonly plainSchemas: (scope: FastifyInstance) => boolean
  /** Runs when every plugin is loaded, before the app listens; a throw fails `ready()`. */
  readonly onReady: (check: () => void) => void
}
