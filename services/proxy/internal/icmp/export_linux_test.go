package icmp

import "time"

// Widen is widen, for tests.
var Widen = widen

// ParseExtended is parseExtended, for tests.
var ParseExtended = parseExtended

// SetIdle shortens how long a flow of r lives without a packet, before the first flow.
func SetIdle(r *Router, d time.Duration) { r.idle = d }
