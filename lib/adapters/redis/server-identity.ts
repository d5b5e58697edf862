/** Identifies the server that answers. A failover or restart changes its identity. */
import type { Redis } from 'ioredis'

/** `run_id` changes with a restart, `master_replid` with a failover. */
export function identityOf (info: string): string {
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? ''
  return `${field('run_id')}:${field('master_replid')}`
}

export async function inspect (redis: Redis): Promise<string> {
  return await redis.call('info', 'server', 'replication') as string
}
