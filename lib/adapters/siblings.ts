/** Finds out whether other processes do the same work. memory() does not reach them. */
import cluster from 'node:cluster'

interface Environment { readonly NODE_APP_INSTANCE?: string, readonly pm_id?: string, readonly instances?: string }

/** Returns what shows that there are other processes. Undefined if nothing does. */
export function siblings (env: Environment = process.env, isWorker = cluster.isWorker): string | undefined {
  // PM2 sets `instances` to the number of processes. With one, also in cluster mode, there is no other process.
  if (env.pm_id !== undefined && env.instances === '1') return undefined
  if (env.pm_id !== undefined && (isWorker || Number(env.NODE_APP_INSTANCE ?? 0) > 0)) return 'PM2 runs several'
  return isWorker ? 'it is a worker of node:cluster' : undefined
}
