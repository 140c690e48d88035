package lease

import "time"

// The lease protocol's times (docs/spec/lifecycle.md 14.3). All processes of a deployment must agree on them.
const (
	// LeaseTTL is how long a lease outlives its last renewal. It exceeds the 5 s after which a frozen worker's QUIC
	// session is gone at the edge, so a new holder starts after the old session ended.
	LeaseTTL = 15 * time.Second
	// HeldTTL is the deadline of a slot whose worker keeps one lease for all its slots: the slot lives as long as that one. It only has to
	// be longer than any run.
	HeldTTL = 10 * 365 * 24 * time.Hour
	// SweepEvery is how often a worker reads the slots of a tunnel where nothing changes, in case that it missed a change.
	SweepEvery = 4 * time.Minute
	// RenewEvery is the interval of a worker's renewals.
	RenewEvery = 2 * time.Second
	// WorkerTTL is how long a worker's registration, and with it its lease, outlives its last renewal.
	WorkerTTL = 8 * time.Second
	// ProxyTTL is how long a proxy's registration outlives its last renewal.
	ProxyTTL = 8 * time.Second
	// ProvedTTL is how long the first-connection gate stays open after the last live connection.
	ProvedTTL = 10 * time.Minute
	// MaxRetryAfter bounds the wait that an edge may ask for. After a longer one the next attempt goes to another address.
	MaxRetryAfter = time.Minute
	// SteadyTime is how long a session must last to prove that the slot works: then everything that failed before is forgotten.
	SteadyTime = time.Minute
	// RegistrationInterval is the steady spacing of a connector's registrations.
	RegistrationInterval = time.Second
	// RegistrationBurst is how many registrations may start at once after a quiet period.
	RegistrationBurst = 2
)
