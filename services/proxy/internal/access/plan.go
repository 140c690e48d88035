package access

import "time"

const (
	// missInterval is the least time between two fetches because of key ids that are not known (docs/spec/ingress.md D5).
	missInterval = 30 * time.Second
	// retryInterval is the least time between two fetches after one that failed.
	retryInterval = 5 * time.Second
)

// state is what is known about the keys of an issuer.
type state struct {
	fetched   time.Time // when the keys in use were fetched; zero without keys
	attempted time.Time // when a fetch ended last, well or not; zero before the first
	failed    bool      // the last fetch failed
}

// step is what a request for a key does.
type step uint8

const (
	stepUse     step = iota + 1 // use the key
	stepRefresh                 // use the key, and fetch in the background
	stepFetch                   // wait for a fetch
	stepRefuse                  // the key does not exist
	stepFail                    // nobody knows: the last fetch failed
)

// next decides what a request for a key does. known says that the keys at hand have it.
func next(s state, known bool, refresh time.Duration, now time.Time) step {
	pause := missInterval
	if s.failed {
		pause = retryInterval
	}
	rested := s.attempted.IsZero() || now.Sub(s.attempted) >= pause
	switch {
	case known && now.Sub(s.fetched) >= refresh && rested:
		return stepRefresh
	case known:
		return stepUse
	case rested:
		return stepFetch
	case s.failed:
		return stepFail
	}
	return stepRefuse
}
