/** Bytes, as JSON and headers carry them. */

export function bytesOf (base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
}

/** A header holds bytes; of text an EventSource sends those of UTF-8 (WHATWG, server-sent events). */
export function headerOf (text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text))
}
