/** What is given to whoever asks for a run, in each of its states: on memory. The table is in helpers/run-states.ts. */
import t, { type Test } from 'tap'
import { memory } from '../../../lib/index.ts'
import { listen, live, portOf } from '../../helpers/app.ts'
import { checkState, declare, Gates, statesOf, type House } from '../../helpers/run-states.ts'
import { faulty } from '../../helpers/run-faults.ts'

async function house (t: Test): Promise<House> {
  const [adapter, gates] = [memory(), new Gates()]
  const asker = await live(t, { adapter })
  declare(asker, gates)
  await listen(asker)
  return {
    ...faulty(adapter, gates),
    adapter,
    asker,
    gates,
    port: portOf(asker),
    stopped: async ({ key, space }) => await asker.realtime.stop(key, { space })
  }
}

for (const name of statesOf({ held: true, lost: true, stopped: true })) {
  t.test(`${name}`, { timeout: 60_000 }, async (t) => { await checkState(t, await house(t), name) })
}
