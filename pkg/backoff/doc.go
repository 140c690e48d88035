// Package backoff computes how long to wait before the next attempt: full jitter under an exponential ceiling
// (docs/spec/lifecycle.md 3.4). Exponents and durations are clamped, so no setting can overflow.
//
// Pure: it never sleeps and reads no clock; the random source and the time are arguments. Values are plain data.
package backoff
