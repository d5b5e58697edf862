/** Makes tokens. */
import { printable } from '../../core/event-name.ts'
import { identityId } from '../../core/identity.ts'
import { TopicFace, topicAt } from '../../core/topics/face.ts'
import type { TopicRegistry } from '../../core/topics/registry.ts'
import { OptionInvalid, TopicUnknown } from '../../errors.ts'
import { onlyKnown, record } from '../../known.ts'
import type { Grants } from './grants.ts'

const KNOWN: ReadonlySet<string> = new Set(['sub', 'subscribe', 'publish', 'info', 'expiresIn', 'claims'])
/** Claims that another option of sign() sets, or that may not be set. */
const RESERVED: ReadonlySet<string> = new Set(['sub', 'exp', 'iat', 'nbf', 'iss', 'aud', 'realtime', '__proto__'])
const HOUR_MS = 3_600_000
const SECOND_MS = 1000

/** @throws OptionInvalid, TopicUnknown */
export function signToken ({ tokens, revocation }: Grants, topics: TopicRegistry, options: unknown): string {
  const signer = tokens?.signer
  if (!signer) throw new OptionInvalid('tokens', 'must have "secret" or "keys", which sign() needs')
  record('sign()', options)
  onlyKnown('sign()', options, KNOWN)
  const { sub, subscribe, publish, info, expiresIn, claims = {} } = options as Record<string, unknown>
  const { issuer, audience, maxLifetime, maxBytes } = tokens.settings
  const id = identityId(sub)
  if (id === undefined) throw new OptionInvalid('sign().sub', 'must be the id of an identity')
  const iat = issuedNow(revocation.identities.at(id))
  const token = signer.sign({
    ...ownClaims(claims),
    sub: id,
    iat,
    exp: iat + lifetime(expiresIn ?? Math.min(HOUR_MS, maxLifetime), maxLifetime),
    ...(issuer && { iss: issuer[0] }),
    ...(audience && { aud: audience[0] }),
    realtime: {
      ...(subscribe !== undefined && { subscribe: names(topics, 'subscribe', subscribe) }),
      ...(publish !== undefined && { publish: names(topics, 'publish', publish) }),
      ...(info !== undefined && { info })
    }
  })
  if (token.length > maxBytes) {
    throw new OptionInvalid('sign()',
      `makes a token of ${token.length} bytes, more than tokens.maxBytes (${maxBytes}). ` +
      'Name a pattern instead of single topics')
  }
  return token
}

/**
 * The time of issue. A token that is made after a revocation must not be refused by it, even within the same second.
 */
function issuedNow (revokedAt: number | undefined): number {
  const now = Math.floor(Date.now() / SECOND_MS)
  return revokedAt === undefined ? now : Math.max(now, Math.floor(revokedAt / SECOND_MS) + 1)
}

function lifetime (expiresIn: unknown, maxLifetime: number): number {
  if (typeof expiresIn !== 'number' || !(expiresIn >= SECOND_MS && expiresIn <= maxLifetime)) {
    throw new OptionInvalid('sign().expiresIn', `must be ${SECOND_MS} to tokens.maxLifetime (${maxLifetime}) ms`)
  }
  return Math.floor(expiresIn / SECOND_MS)
}

function ownClaims (claims: unknown): object {
  record('sign().claims', claims)
  for (const name of Object.keys(claims)) {
    if (!RESERVED.has(name)) continue
    throw new OptionInvalid(`sign().claims.${name}`, 'is set by another option of sign(), or may not be set')
  }
  return claims
}

/** Full names, and the texts of patterns. @throws TopicUnknown */
function names (topics: TopicRegistry, right: string, value: unknown): string[] {
  return [value].flat().map((one: unknown) => {
    const declared = TopicFace.declared(one)
    if (declared) return declared.pattern
    const at = topicAt(one)
    if (at) return at.name
    if (typeof one !== 'string') throw new OptionInvalid(`sign().${right}`, 'must be a Topic, topic.at(…), or a name')
    return topics.byPattern(one)?.pattern ?? nameOf(topics, one)
  })
}

/** A name has neither ":" nor "*", so a text with one of them is a pattern that is not declared. */
function nameOf (topics: TopicRegistry, name: string): string {
  if (/[:*]/.test(name)) throw new TopicUnknown(printable(name), 'Declare its pattern with fastify.topic().')
  return topics.resolve(name).name
}
