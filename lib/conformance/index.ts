/**
 * `fastify-realtime/conformance`: the suites that an adapter, a wire and a client must pass, for tap, node:test, Vitest
 * or any other test runner. Each returns trials: a name, and a function whose promise rejects if the contract is
 * broken.
 */
export { adapterSuite, type AdapterSuiteOptions, type MakeNodes } from './adapter.ts'
export { clientSuite } from './client.ts'
export { childClient } from './client-child.ts'
export type {
  ClientMessage, ClientOrder, ClientSaw, ClientSkill, ClientSuiteOptions, ClientWire, DriveClient, DrivenClient
} from './client-contract.ts'
export { wireSuite, type WireClient, type WireEvent, type WireRoutes, type WireSuiteOptions } from './wire.ts'
export type { Checks, Trial } from './trial.ts'
