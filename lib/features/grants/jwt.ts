/** Checks and signs HS256 tokens (RFC 7515, RFC 7518 §3.2) with fast-jwt, which is loaded only if it is needed. */
import { NAMELESS, type TokenSettings } from './token-options.ts'

export interface Signer {
  /** Returns the claims of a token that one of the keys has signed. Throws for any other. */
  verify (token: string): unknown
  sign (claims: object): string
}

type Verify = (token: string) => unknown

export async function makeSigner (
  settings: TokenSettings, keys: NonNullable<TokenSettings['keys']>
): Promise<Signer> {
  const { createSigner, createVerifier } = await import('fast-jwt')
  const { kid, issuer, audience, clockTolerance } = settings
  // Without this a token that lacks a claim would pass the checks of that claim.
  const requiredClaims = ['exp', 'sub', ...(issuer ? ['iss'] : []), ...(audience ? ['aud'] : [])]
  // No cache: a cached token would be accepted again without new checks.
  const verifiers = new Map([...keys].map(([name, key]): [string, Verify] => [name, createVerifier({
    key,
    algorithms: ['HS256'],
    cache: false,
    requiredClaims,
    clockTolerance,
    ...(issuer && { allowedIss: [...issuer] }),
    ...(audience && { allowedAud: [...audience] })
  })]))
  const key = keys.get(kid ?? NAMELESS) as Buffer
  const sign = createSigner({ key, algorithm: 'HS256', ...(kid !== undefined && { kid }) })
  return { verify: (token) => verifierOf(verifiers, canonical(token))(token), sign: (claims) => sign({ ...claims }) }
}

/**
 * Threat: the last letter of a signature has unused bits (RFC 4648 §3.5), so one token has several texts. A list of
 * refused texts would miss the others.
 */
function canonical (token: string): string {
  const signature = token.slice(token.lastIndexOf('.') + 1)
  if (Buffer.from(signature, 'base64url').toString('base64url') !== signature) throw new Error('not canonical')
  return token
}

/** With only one key, tokens need not name it. */
function verifierOf (verifiers: ReadonlyMap<string, Verify>, token: string): Verify {
  const [only] = verifiers
  if (only && only[0] === NAMELESS) return only[1]
  const kid = kidOf(token)
  const verify = kid === undefined && verifiers.size === 1 ? only?.[1] : verifiers.get(String(kid))
  if (!verify) throw new Error('no such key')
  return verify
}

function kidOf (token: string): unknown {
  const header = Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString()
  const { kid } = JSON.parse(header) as { kid?: unknown }
  if (kid !== undefined && typeof kid !== 'string') throw new Error('a kid is text')
  return kid
}
