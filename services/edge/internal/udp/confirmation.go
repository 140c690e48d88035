package udp

import "time"

// A flow that sends and receives nothing is registered again after confirmMin, then after twice the time, up to confirmMax.
const confirmMin, confirmMax = time.Second, 30 * time.Second

// confirmation decides when a flow of version 3 is registered again. A connector with this version cannot say that it has lost a flow, for
// instance because the origin's port was closed for a moment; all later payloads would be dropped there. For a flow that the
// connector still has, a repeated registration changes nothing (docs/spec/wire.md 11).
type confirmation struct {
	// last is the start of the current wait, in nanoseconds; wait is its length.
	last int64
	wait time.Duration
}

// isDue reports whether a payload that is sent at now has to follow a registration, and if so starts the next wait. heard is when the
// flow last received something or was registered.
func (c *confirmation) isDue(heard, now int64) bool {
	if heard >= c.last {
		c.last, c.wait = heard, confirmMin
	}
	if now-c.last < int64(c.wait) {
		return false
	}
	c.last, c.wait = now, min(2*c.wait, confirmMax)
	return true
}
