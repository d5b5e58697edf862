/** One of the page's tabs. */
export interface View {
  readonly element: HTMLElement
  /** Once a second or so while it is looked at. */
  refresh? (): Promise<void>
}
