package backoff

import (
	"fmt"
	"math"
	"time"
)

// Limits of a policy.
const (
	// DefaultRetries is the exponent cap of the reference's --retries.
	DefaultRetries = 5
	// DefaultBase is a slot's base.
	DefaultBase = time.Second
	// MaxDelay bounds every ceiling, whatever the policy says.
	MaxDelay = time.Hour
)

// Random returns a uniform number in [0, n); rand.Int64N and (*rand.Rand).Int64N of math/rand/v2 are ones. n is positive.
type Random func(n int64) int64

// Policy is the shape of a backoff.
type Policy struct {
	// Base is the ceiling before the first retry is counted.
	Base time.Duration `yaml:"base" usage:"ceiling of the wait before any retry is counted; doubles with each retry"`
	// Retries caps the exponent. It is not a limit on attempts.
	Retries int `yaml:"retries" usage:"number of doublings after which the ceiling stays"`
}

// Slot is the policy of one slot: waits below 2, 4, 8, 16, 32 and then 32 s for ever.
func Slot() Policy { return Policy{Base: DefaultBase, Retries: DefaultRetries} }

// Validate reports a policy that makes no sense.
func (p Policy) Validate() error {
	if p.Base <= 0 {
		return fmt.Errorf("base: %v is not positive", p.Base)
	}
	if p.Retries < 0 {
		return fmt.Errorf("retries: %d is negative", p.Retries)
	}
	return nil
}

// Ceiling is the exclusive upper bound of the wait after the given number of failed attempts in a row (1 = the first
// failure): Base * 2^min(failures, Retries), at most MaxDelay. It is also what a log line may promise as "up to".
func (p Policy) Ceiling(failures int) time.Duration {
	exponent := max(0, min(failures, p.Retries))
	if p.Base <= 0 {
		return 0
	}
	if exponent >= 62 || int64(p.Base) > math.MaxInt64>>exponent {
		return MaxDelay
	}
	return min(p.Base<<exponent, MaxDelay)
}

// Wait draws a wait from [0, Ceiling(failures)).
func (p Policy) Wait(failures int, random Random) time.Duration {
	ceiling := p.Ceiling(failures)
	if ceiling <= 0 {
		return 0
	}
	return time.Duration(random(int64(ceiling)))
}

// Counter counts the failures in a row of one thing, and forgets them after success. The zero value has seen none.
type Counter struct {
	// Failures in a row.
	Failures int
	// ResetAt is when a success begins to count as lasting; the zero time means no success is pending.
	ResetAt time.Time
}

// Failed is the counter after a failure at now. A success that lasted past its grace is honoured first: the count
// starts again from this failure.
func (c Counter) Failed(now time.Time) Counter {
	if !c.ResetAt.IsZero() && !now.Before(c.ResetAt) {
		c = Counter{}
	}
	if c.Failures < math.MaxInt {
		c.Failures++
	}
	return c
}

// Succeeded is the counter after a success at now that must last for grace before failures are forgotten. Grace zero
// forgets them at once, which is the rule for a slot that registered.
func (c Counter) Succeeded(now time.Time, grace time.Duration) Counter {
	if grace <= 0 {
		return Counter{}
	}
	c.ResetAt = now.Add(grace)
	return c
}
