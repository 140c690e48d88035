package resolve

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/sony/gobreaker/v2"
)

const (
	// breakerFailures in a row open the breaker of a server: more than one name whose records are broken causes between two successes.
	breakerFailures = 3
	// breakerOpen is how long an open breaker keeps queries from its server. Then one query tries it.
	breakerOpen = 30 * time.Second
)

// State is the state of the breaker of one server.
type State int

// The states, as the metric shows them.
const (
	Closed State = iota
	HalfOpen
	Open
)

// String is the word for a state in log lines.
func (s State) String() string {
	switch s {
	case HalfOpen:
		return "half-open"
	case Open:
		return "open"
	default:
		return "closed"
	}
}

var (
	// errResting is the result of a query that a breaker kept from its server.
	errResting = errors.New("not queried: it failed several times in a row")
	// errNeutral marks the end of a query that says nothing about its server.
	errNeutral = errors.New("neither success nor failure")
)

// breakers keeps one breaker per server. It is safe for concurrent use.
type breakers struct {
	// changed is called when a server's breaker changes its state, gone when a server is not used any more. Either may be nil.
	changed func(server string, from, to State)
	gone    func(server string)

	// mu protects all. No callback runs under it.
	mu  sync.Mutex
	all map[string]*gobreaker.TwoStepCircuitBreaker[struct{}]
}

func newBreakers(changed func(string, State, State), gone func(string)) *breakers {
	return &breakers{changed: changed, gone: gone, all: map[string]*gobreaker.TwoStepCircuitBreaker[struct{}]{}}
}

func (b *breakers) of(server string) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if breaker, ok := b.all[server]; ok {
		return breaker
	}
	breaker := gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        server,
		Timeout:     breakerOpen,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNeutral) },
		OnStateChange: func(server string, from, to gobreaker.State) {
			if b.changed != nil {
				b.changed(server, stateOf(from), stateOf(to))
			}
		},
	})
	b.all[server] = breaker
	return breaker
}

// allow asks for a query to the server; done takes its result. Its error says that the breaker is open.
func (b *breakers) allow(server string) (done func(error), err error) {
	done, err = b.of(server).Allow()
	if err != nil {
		return nil, errResting
	}
	return done, nil
}

// resting reports whether the breaker of the server keeps queries from it now.
func (b *breakers) resting(server string) bool {
	b.mu.Lock()
	breaker, found := b.all[server]
	b.mu.Unlock()
	return found && breaker.State() == gobreaker.StateOpen
}

// keep drops the breakers of all servers but these: the system's configuration follows the network.
func (b *breakers) keep(servers ...string) {
	b.mu.Lock()
	var dropped []string
	for server := range b.all {
		found := false
		for _, s := range servers {
			found = found || s == server
		}
		if !found {
			delete(b.all, server)
			dropped = append(dropped, server)
		}
	}
	b.mu.Unlock()
	for _, server := range dropped {
		if b.gone != nil {
			b.gone(server)
		}
	}
}

func stateOf(s gobreaker.State) State {
	switch s {
	case gobreaker.StateOpen:
		return Open
	case gobreaker.StateHalfOpen:
		return HalfOpen
	default:
		return Closed
	}
}

// verdict is what the result of a query says about its server. That a name does not exist is a response like any other; SERVFAIL and
// REFUSED are failures of the server, and a caller that gave up says nothing.
func verdict(ctx context.Context, reply *dns.Msg, err error) error {
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return errNeutral
	case err != nil:
		return err
	case reply.Rcode == dns.RcodeServerFailure, reply.Rcode == dns.RcodeRefused:
		return errors.New(dns.RcodeToString[reply.Rcode])
	default:
		return nil
	}
}

// share is the time limit of one query, so that the servers behind it get their turn: an equal part of what remains until the deadline,
// and limit at most. left is the number of servers behind it.
func share(limit, remaining time.Duration, left int) time.Duration {
	return max(0, min(limit, remaining/time.Duration(left+1)))
}
