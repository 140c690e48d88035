package keep

import (
	"errors"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Reach is whether the store is available, by the last call to it. The zero value is available: that is assumed until a call fails.
type Reach struct{ lost bool }

// Up reports whether the last call reached the store.
func (r Reach) Up() bool { return !r.lost }

// Observe records the result of a call, and reports whether the availability changed. A store that refuses a call is available.
func (r *Reach) Observe(err error) (changed bool) {
	lost := errors.Is(err, tunnel.ErrUnavailable)
	changed = lost != r.lost
	r.lost = lost
	return changed
}
