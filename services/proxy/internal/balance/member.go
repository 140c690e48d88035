package balance

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/balance/decide"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// The states of a member.
const (
	stateUp      = "up"
	stateDown    = "down"
	stateEjected = "ejected"
)

// errNeutral is the result of an attempt that says nothing about the origin.
var errNeutral = errors.New("neither success nor failure")

// member is one origin.
type member struct {
	hub     *Hub
	service string // without a password
	address string
	id      uint64
	origin  *origin.Origin
	check   *ingress.Check
	eject   time.Duration                              // how long an ejection lasts
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}] // nil without ejection

	inFlight atomic.Int64
	health   atomic.Pointer[decide.Health]
	reason   atomic.Pointer[string] // of the last failed check
	returned atomic.Int64           // when an ejection ended, in Unix nanoseconds; 0 before the first one
	opened   atomic.Int64           // when the last ejection began, in Unix nanoseconds

	refs int // guarded by the hub
	stop context.CancelFunc
	done chan struct{}
}

func newMember(h *Hub, o *origin.Origin, service, address string, b *ingress.Balance) *member {
	m := &member{hub: h, service: service, address: address, origin: o, check: b.Check, eject: b.Eject, done: make(chan struct{})}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(service + " " + address)) // never fails
	m.id = sum.Sum64()
	m.health.Store(&decide.Health{})
	if limit := b.Failures; limit > 0 {
		m.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Timeout:       b.Eject,
			ReadyToTrip:   func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= limit },
			IsExcluded:    func(err error) bool { return errors.Is(err, errNeutral) },
			OnStateChange: m.breakerChanged,
		})
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go m.watch(ctx)
	return m
}

// close ends the checks and the idle connections.
func (m *member) close() {
	m.stop()
	<-m.done
	m.origin.Close()
}

func (m *member) breakerChanged(_ string, from, to gobreaker.State) {
	switch to {
	case gobreaker.StateOpen:
		m.opened.Store(time.Now().UnixNano())
		m.changed(stateEjected, "requests failed")
	case gobreaker.StateClosed:
		m.returned.Store(time.Now().UnixNano())
		m.changed(stateUp, "a request succeeded")
	case gobreaker.StateHalfOpen:
		_ = from // the next request decides
	}
}

// changed counts and logs a change of state.
func (m *member) changed(to, reason string) {
	m.hub.changes[to].Inc()
	level := slog.LevelWarn
	if to == stateUp {
		level = slog.LevelInfo
	}
	m.hub.log.Log(context.Background(), level, "origin changed its state", slog.String(logkey.Origin, m.service),
		slog.String(logkey.Addr, m.address), slog.String(logkey.To, to), slog.String(logkey.Reason, reason))
}

// state names the member's state.
func (m *member) state() string {
	switch {
	case m.health.Load().Down:
		return stateDown
	case m.breaker != nil && m.breaker.State() == gobreaker.StateOpen:
		return stateEjected
	}
	return stateUp
}

// usable reports whether a request may be sent here. After an ejection a request that may be repeated tries the origin. When none has come
// for as long again, as for a rule with nothing but POST or gRPC, any request does.
func (m *member) usable(safe bool) bool {
	if m.health.Load().Down {
		return false
	}
	if m.breaker == nil {
		return true
	}
	switch m.breaker.State() {
	case gobreaker.StateOpen:
		return false
	case gobreaker.StateHalfOpen:
		return safe || time.Now().UnixNano()-m.opened.Load() >= 2*int64(m.eject)
	default:
		return true
	}
}

// back is when the member could be used again; zero if it was never out of use.
func (m *member) back() time.Time {
	since := m.health.Load().Since
	if n := m.returned.Load(); n != 0 && time.Unix(0, n).After(since) {
		since = time.Unix(0, n)
	}
	return since
}

// watch checks the origin until ctx ends, at once for the first time.
func (m *member) watch(ctx context.Context) {
	defer close(m.done)
	if m.check == nil {
		return
	}
	tick := time.NewTicker(m.check.Interval)
	defer tick.Stop()
	for {
		err := probe(ctx, m.origin, m.check)
		if ctx.Err() != nil {
			return
		}
		m.checked(err) //nolint:contextcheck // the line is about the origin, not about a request
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checked takes in the result of a check.
func (m *member) checked(err error) {
	old := m.health.Load()
	now := old.After(err == nil, m.check.Rise, m.check.Fall, time.Now())
	reason := "the check succeeded"
	if err != nil {
		reason = err.Error()
		m.reason.Store(&reason)
	}
	m.health.Store(&now)
	switch {
	case now.Down && !old.Down:
		m.changed(stateDown, reason)
	case !now.Down && old.Down:
		m.changed(stateUp, reason)
	}
}
