// Package doubt decides when a connection is in doubt: something was sent to its peer and nothing at all has come back for some time,
// although the transport of a living peer responds by itself, however slow an origin is. It is pure: time, counters and the round trip
// come in, and an action comes out.
package doubt
