package quick

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// absences says since when tunnels have had no connection.
type absences map[tunnel.ID]time.Time

// expired looks at all quick tunnels, and returns those that have had no connection for keep. A tunnel that is seen for the first time
// is as good as connected: it is new, or the edge has restarted and its connector may come back.
func (a absences) expired(all []tunnel.ID, connected func(tunnel.ID) bool, now time.Time, keep time.Duration) []tunnel.ID {
	exists := make(map[tunnel.ID]bool, len(all))
	var out []tunnel.ID
	for _, id := range all {
		exists[id] = true
		since, known := a[id]
		switch {
		case !known || connected(id):
			a[id] = now
		case now.Sub(since) >= keep:
			out = append(out, id)
		}
	}
	for id := range a {
		if !exists[id] {
			delete(a, id)
		}
	}
	return out
}
