/** The exported suites, run by tap. */
import t from 'tap'
import { adapterSuite, wireSuite, type AdapterSuiteOptions, type MakeNodes, type Trial, type WireSuiteOptions } from '../../lib/conformance/index.ts'
import Fastify from 'fastify'

function run (suite: string, trials: Trial[]): void {
  for (const { name, run } of trials) {
    t.test(`${suite}: ${name}`, async (t) => {
      await run()
      t.pass('the contract is kept')
    })
  }
}

export function adapterConformance (name: string, makeNodes: MakeNodes, options?: AdapterSuiteOptions): void {
  run(name, adapterSuite(makeNodes, options))
}

export function wireConformance (name: string, connect: WireSuiteOptions['connect']): void {
  run(name, wireSuite({ makeApp: () => Fastify(), connect }))
}
