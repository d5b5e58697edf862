/** Bytes, as JSON carries them. */

export function bytesOf (base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
}
