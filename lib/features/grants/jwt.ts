/** Tokens by HS256 (RFC 7515, RFC 7518 §3.2): checked and signed by fast-jwt, which is loaded where it is needed. */
import { NAMELESS, type TokenSettings } from './token-options.ts'

export interface Signer {
  /** The claims of a token that is signed by one of the keys, whatever they say; throws for any other. */
  verify (token: string): unknown
  sign (claims: object): string
}

type Verify = (token: string) => unknown

export async function makeSigner (
  settings: TokenSettings, keys: NonNullable<TokenSettings['keys']>
): Promise<Signer> {
  const { createSigner, createVerifier } = await import('fast-jwt')
  const { kid, issuer, audience, clockTolerance } = settings
  // What is checked only where it is there would let through what lacks it.
  const requiredClaims = ['exp', 'sub', ...(issuer ? ['iss'] : []), ...(audience ? ['aud'] : [])]
  // No cache: a token that was let in once would be let in again, whatever it then says.
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
 * Threat: the last letter of a signature has bits that say nothing (RFC 4648 §3.5). Of two texts of one token a list of
 * refused ones would know one.
 */
function canonical (token: string): string {
  const signature = token.slice(token.lastIndexOf('.') + 1)
  if (Buffer.from(signature, 'base64url').toString('base64url') !== signature) throw new Error('not canonical')
  return token
}

/** Where there is one key, tokens need not name it. */
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
