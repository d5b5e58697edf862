/** Conversions of bytes for JSON and headers. */

export function bytesOf (base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
}

/** Encodes text for a header as an EventSource does: as UTF-8 bytes (WHATWG, server-sent events). */
export function headerOf (text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text))
}
