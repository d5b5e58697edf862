/**
 * Addresses as they are counted: an IPv4 address, or the /64 of an IPv6 address, because one subscriber has all of it
 * (RFC 6177). Pure; takes any text of a forwarding header.
 */
import { isIPv6 } from 'node:net'

/** Text that is not an address (`unknown`, a name) is counted as it is, up to so many characters. */
const MAX_TEXT = 64
/** RFC 1918, loopback, link-local (RFC 3927), and addresses behind a carrier's or a cloud's translation (RFC 6598). */
const LOCAL_IPV4 = /^(?:10|127|192\.168|169\.254|172\.(?:1[6-9]|2\d|3[01])|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./

/** What an address is counted as. */
export function networkOf (address: string): string {
  const text = bare(address)
  if (!text.includes(':')) return text.slice(0, MAX_TEXT)
  const groups = groupsOf(text)
  if (!groups) return text.slice(0, MAX_TEXT)
  return ipv4In(groups) ?? groups.slice(0, 4).map((group) => group.toString(16)).join(':') + '::/64'
}

/** True for an address that cannot come from the open internet: private, link-local or loopback. */
export function isLocal (address: string): boolean {
  const text = bare(address)
  if (!text.includes(':')) return LOCAL_IPV4.test(text)
  const groups = groupsOf(text)
  if (!groups) return false
  const ipv4 = ipv4In(groups)
  return ipv4 === undefined ? isLocalIPv6(groups) : LOCAL_IPV4.test(ipv4)
}

/** `::1`, unique local (RFC 4193), link-local (RFC 4291 §2.5.6). */
function isLocalIPv6 (groups: readonly number[]): boolean {
  const [first = 0] = groups
  return (first & 0xfe00) === 0xfc00 || (first & 0xffc0) === 0xfe80 ||
    groups.every((group, index) => group === (index === 7 ? 1 : 0))
}

/** Removes brackets, zone and port: some proxies forward `1.2.3.4:5678` and `[2001:db8::1]:443`. */
function bare (address: string): string {
  const bracketed = address.startsWith('[') ? address.slice(1, Math.max(1, address.indexOf(']'))) : address
  const colon = bracketed.indexOf(':')
  if (colon === -1) return bracketed
  if (colon === bracketed.lastIndexOf(':')) return bracketed.slice(0, colon)
  const zone = bracketed.indexOf('%')
  return zone === -1 ? bracketed : bracketed.slice(0, zone)
}

/** The eight groups of an IPv6 address in any of its forms; undefined for any other text. */
function groupsOf (text: string): number[] | undefined {
  if (!isIPv6(text)) return undefined
  const [before = '', after] = text.split('::') as [string, string?]
  const start = readGroups(before)
  if (after === undefined) return start
  const end = readGroups(after)
  return [...start, ...Array.from({ length: 8 - start.length - end.length }, () => 0), ...end]
}

function readGroups (text: string): number[] {
  return text === ''
    ? []
    : text.split(':').flatMap((group) => group.includes('.') ? readIPv4(group) : [parseInt(group, 16)])
}

function readIPv4 (text: string): [number, number] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number)
  return [a << 8 | b, c << 8 | d]
}

/**
 * The IPv4 address that an IPv6 address stands for: mapped (`::ffff:1.2.3.4`, RFC 4291 §2.5.5.2), or translated (RFC
 * 6052, RFC 7915). Undefined if there is none.
 */
function ipv4In (groups: readonly number[]): string | undefined {
  const start = groups.slice(0, 6).map((group) => group.toString(16)).join(':')
  if (start !== '0:0:0:0:0:ffff' && start !== '0:0:0:0:ffff:0' && start !== '64:ff9b:0:0:0:0') return undefined
  const [high = 0, low = 0] = groups.slice(6)
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}
