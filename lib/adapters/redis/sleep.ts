/** A pause that keeps no process alive. */
export async function sleep (ms: number): Promise<void> {
  await new Promise((resolve) => { setTimeout(resolve, ms).unref() })
}
