package keeper

import (
	"errors"
	"fmt"
	"time"
)

// silentAfter is how long the loop of a keeper may take for one turn. Turns take milliseconds, and seconds while the store is away.
const silentAfter = time.Minute

var errSilent = errors.New("no progress")

// progress remembers that the loop made a turn.
func (k *keeper) progress() {
	now := time.Now()
	k.beat.Store(&now)
}

// Alive says which keepers made no turn for long before now, or nil. It takes their locks, so it blocks while one is held for ever.
func (s *Set) Alive(now time.Time) error {
	var problems []error
	for _, k := range s.keepers {
		_ = k.connections() // its locks are what matters
		if last := k.beat.Load(); last != nil && now.Sub(*last) > silentAfter {
			problems = append(problems, fmt.Errorf("tunnel %s: %w for %v", k.cred.TunnelID, errSilent, now.Sub(*last).Round(time.Second)))
		}
	}
	return errors.Join(problems...)
}
