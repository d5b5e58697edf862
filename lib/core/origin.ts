/**
 * Origins (RFC 6454) and hosts, as clients write them and as they are compared: lower case, punycode, and without the
 * default port. A text that no browser would write is neither.
 */

/** A host name has at most 253 characters; a scheme, a port and brackets come on top. */
const MAX_LENGTH = 300
// Threat: userinfo, a path, an escape or a backslash would let a parser find another host than the one written first.
// An asterisk would be a pattern, and nothing here matches patterns.
const ORIGIN = /^([a-z][a-z0-9+.-]*:)\/\/([^\s/?#@\\%*]*)$/i
const HOST = /^[^\s/?#@\\%*]+$/

export interface Origin {
  /** The scheme with its colon. */
  readonly scheme: string
  readonly text: string
}

/** Undefined for a text that is not an origin: `null`, a list of two, one with a path. */
export function readOrigin (text: string): Origin | undefined {
  if (text.length > MAX_LENGTH) return undefined
  const [, scheme = ''] = ORIGIN.exec(text) ?? []
  if (scheme === '' || !URL.canParse(text)) return undefined
  const { origin, protocol } = new URL(text)
  // The URL standard defines an origin for few schemes. An origin of any other scheme (capacitor:, chrome-extension:)
  // is compared as it is written.
  return { scheme: protocol, text: origin === 'null' ? text.toLowerCase() : origin }
}

/** The origin of what this host serves by this scheme (with its colon). */
export function originAt (scheme: string, host: string): string | undefined {
  return HOST.test(host) ? readOrigin(`${scheme}//${host}`)?.text : undefined
}

/**
 * A host and its port. The default ports of http and https are left out: behind a proxy nobody knows which of the two
 * schemes it was.
 */
export function readHost (text: string): string | undefined {
  return originAt('http:', text)?.slice('http://'.length).replace(/:443$/, '')
}
