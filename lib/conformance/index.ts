/**
 * The suites that an adapter and a wire must pass, for tap, node:test, Vitest, or any other runner: each gives trials,
 * a name and a function whose promise rejects where the contract is not kept.
 */
export { adapterSuite, type AdapterSuiteOptions, type MakeNodes } from './adapter.ts'
export { wireSuite, type WireClient, type WireEvent, type WireRoutes, type WireSuiteOptions } from './wire.ts'
export type { Checks, Trial } from './trial.ts'
