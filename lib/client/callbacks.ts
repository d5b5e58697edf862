/** The page's own code, as the client calls it. */

/** What it throws is the page's to see, and stops nothing of ours. */
export function quietly (run: () => void): void {
  try {
    run()
  } catch (error) {
    setTimeout(() => { throw error })
  }
}
