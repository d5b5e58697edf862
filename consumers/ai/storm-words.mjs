// What a seed makes.

export function random (seed) {
  return () => {
    seed = seed + 0x6D2B79F5 | 0
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed)
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32
  }
}

const ALPHABET = ['a', 'B', ' ', '\n', '\r', '"', '\\', '\u0000', '\u2028', 'é', '水', '\ud83d', '\udc1f', '\ud83d\udc1f', 'data: ', '[DONE]', '\n\n']

/** The words of a chat's answer, which every node says alike. */
export function wordsOf (chat) {
  const next = random(Number(chat.split('-').at(-1)))
  return Array.from({ length: 600 }, (_, n) => `${n}:${Array.from({ length: Math.floor(next() * 9) }, () => ALPHABET[Math.floor(next() * ALPHABET.length)]).join('')}`)
}
