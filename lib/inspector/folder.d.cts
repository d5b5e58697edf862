/** Where the inspector lies, and beside it its page. */
export declare const folder: string
