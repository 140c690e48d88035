package keeper

import (
	"errors"
	"fmt"
	"time"
)

// silentAfter is how long the loop of a keeper may take for one turn. Turns take milliseconds, and seconds while the store is away.
const silentAfter = time.Minute

var errSilent = errors.New("no progress")

// begin remembers that the loop begins a turn.
func (k *keeper) begin() {
	now := time.Now()
	k.busy.Store(&now)
}

// Alive says which keepers have been in one turn for long at now, or nil. It takes their locks, so it blocks while one is held for ever.
func (s *Set) Alive(now time.Time) error {
	var problems []error
	for _, k := range s.keepers {
		_ = k.connections() // its locks are what matters
		if since := k.busy.Load(); since != nil && now.Sub(*since) > silentAfter {
			problems = append(problems, fmt.Errorf("tunnel %s: %w for %v", k.cred.TunnelID, errSilent, now.Sub(*since).Round(time.Second)))
		}
	}
	return errors.Join(problems...)
}
