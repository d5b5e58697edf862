/** What the tests of revocation have in common. */
import type { ChannelClient, StreamClient } from '../../lib/testing/index.ts'

export type Client = ChannelClient | StreamClient
