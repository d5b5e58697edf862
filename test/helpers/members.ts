/** The topic that says who is in another one, as the plugin describes it to an adapter. */
import type { MemberTopic } from '../../lib/core/adapter.ts'

export function memberTopicOf (subject: string, more: Partial<MemberTopic> = {}): MemberTopic {
  return {
    topic: `realtime:presence/${subject}`,
    subject,
    event: 'realtime:presence',
    mode: 'members',
    maxMembers: 10_000,
    grace: 0,
    retention: { limit: 1000, maxAge: 120_000, maxBytes: 4 << 20 },
    ...more
  }
}
