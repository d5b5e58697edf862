'use strict'

// A bundler finds a literal require() and puts ioredis into the bundle. Inside `try` it does not fail without ioredis.
// This must be CommonJS: an ES module could do the same only asynchronously.
try {
  exports.ioredis = require('ioredis')
} catch (error) {
  exports.failure = { error }
}
