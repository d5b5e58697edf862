/** Buttons that copy what is tried as code. */
import { asBrowserCode, asCurl, asTest, type Opening } from './code.ts'
import { button, h, tell } from './dom.ts'

/** `opening` throws where something is missing yet. */
export function copyButtons (opening: () => Opening, kind = ''): HTMLButtonElement[] {
  const ways = { curl: asCurl, browser: asBrowserCode, test: asTest }
  return Object.entries(ways).map(([name, as]) =>
    button(`Copy as ${name}`, async () => await copy(name, as(opening())), { kind }))
}

async function copy (name: string, text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
    tell(`Copied to the clipboard, as ${name}.`, 'done')
  } catch {
    // Where a page may not write to the clipboard, somebody can still take it from there.
    showCode(text)
  }
}

function showCode (text: string): void {
  const shown = h('pre', { attrs: { tabindex: 0 } }, text)
  const why = h('p', { class: 'hint' }, 'The browser lets this page not write to the clipboard. Copy it from here:')
  const dialog = h('dialog', { attrs: { 'aria-label': 'Code to copy' } }, why, shown)
  dialog.append(button('Close', () => dialog.remove()))
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
}
