/** Does this process share its work with others, whom memory() cannot reach? */
import cluster from 'node:cluster'

interface Environment { readonly NODE_APP_INSTANCE?: string, readonly pm_id?: string, readonly instances?: string }

/** What shows it; undefined where nothing does. */
export function siblings (env: Environment = process.env, isWorker = cluster.isWorker): string | undefined {
  // PM2 says of each process how many there are. Its cluster mode of one is alone.
  if (env.pm_id !== undefined && env.instances === '1') return undefined
  if (env.pm_id !== undefined && (isWorker || Number(env.NODE_APP_INSTANCE ?? 0) > 0)) return 'PM2 runs several'
  return isWorker ? 'it is a worker of node:cluster' : undefined
}
