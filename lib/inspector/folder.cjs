'use strict'

// CommonJS in dist/ and in lib/ alike, where one knows its folder.
exports.folder = __dirname
