/** Checks that the server has shard channels, and INFO with several sections (both since Redis 7). */
import { AdapterUnsupported } from '../../errors.ts'

/** @throws AdapterUnsupported */
export function checkVersion (info: string): void {
  const valkey = /^valkey_version:(\d+)\.(\d+)/m.exec(info)
  const version = valkey ?? /^redis_version:(\d+)\.(\d+)/m.exec(info)
  if (!version) return
  const [, major, minor] = version.map(Number) as [number, number, number]
  const enough = valkey ? major > 7 || (major === 7 && minor >= 2) : major >= 7
  if (!enough) throw new AdapterUnsupported(valkey ? 'Valkey' : 'Redis', `${major}.${minor}`)
}
