/** What two sides compare to know that they have the same text. tally.ts on the server does the same. */
export function tally (text) {
  return { words: text.match(/\S+/g)?.length ?? 0, characters: text.length, checksum: checksum(text) }
}

/** FNV-1a, 32 bits, over UTF-16 code units. */
function checksum (text) {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}
