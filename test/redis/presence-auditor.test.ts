/** The auditor itself: it finds what nobody made, and nothing else. */
import t from 'tap'
import { setTimeout as pause } from 'node:timers/promises'
import type { Received } from '../../lib/testing/index.ts'
import { PresenceAuditor } from './presence-auditor.ts'

const APART_MS = 80
const told = (type: string, who: string, at: number): Received => ({
  event: 'realtime:presence',
  data: { topic: 'rooms/1', type, ...type === 'leave' ? { ids: [who] } : { members: [{ id: who }] } },
  id: `${at}-0.x`
})

t.test('a join and a leave are believed where somebody came and went between', async (t) => {
  const auditor = new PresenceAuditor()
  auditor.look(new Set(['ada', 'bob']))
  await pause(APART_MS)
  const both = Date.now()
  await pause(APART_MS)
  auditor.look(new Set(['bob']))
  const alone = Date.now()
  await pause(APART_MS)
  auditor.look(new Set(['ada', 'bob']))
  await pause(APART_MS)
  const again = Date.now()
  const faults = (...events: Received[]) => auditor.faults(events, 'rooms/1').map((fault) => fault.split(' ')[0])

  t.same(faults(told('join', 'ada', both), told('leave', 'ada', alone), told('join', 'ada', again)), [])
  t.same(faults(told('members', 'ada', both), told('leave', 'ada', again)), [], 'told late')
  t.same(faults(told('members', 'bob', both), told('leave', 'bob', again)), ['-bob'])
  t.same(faults(told('members', 'bob', both), told('join', 'bob', again)), ['+bob'], 'known already')
  t.same(faults(told('join', 'bob', both), told('members', 'bob', again), told('leave', 'bob', again)), ['-bob'])
  t.same(faults(told('join', 'ada', again - 1), told('leave', 'ada', again)), ['-ada'], 'that leave was told before')
  t.same(faults(told('update', 'bob', both), told('update', 'bob', again)), [])
})
