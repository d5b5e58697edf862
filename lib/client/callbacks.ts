/** Calls of the page's own functions. */

/** Calls a function of the page. Its error is thrown later, where the page sees it, and stops nothing here. */
export function quietly (run: () => void): void {
  try {
    run()
  } catch (error) {
    setTimeout(() => { throw error })
  }
}
