package management

import (
	"context"
	"errors"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// errTaken says that another actor streams from the connector.
var errTaken = errors.New("another actor streams the logs of this connector")

// connectorKey names a connector.
type connectorKey struct {
	tunnel    tunnel.ID
	connector tunnel.ConnectorID
}

// seats let one stream at a time send the lines of a connector. The zero value is ready for use.
type seats struct {
	mu    sync.Mutex
	taken map[connectorKey]*seat
}

// seat is the place of one stream.
type seat struct {
	actor string
	leave context.CancelFunc // ends the stream that has it
}

// take gives the seat of a connector to an actor. Another stream of the same actor has to leave; one of another actor keeps it, which is
// errTaken. leave ends the stream that takes the seat; release gives the seat back.
func (s *seats) take(k connectorKey, actor string, leave context.CancelFunc) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.taken[k]; held != nil {
		if held.actor != actor {
			return nil, errTaken
		}
		held.leave()
	}
	mine := &seat{actor: actor, leave: leave}
	if s.taken == nil {
		s.taken = make(map[connectorKey]*seat)
	}
	s.taken[k] = mine
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.taken[k] == mine {
			delete(s.taken, k)
		}
	}, nil
}

// ends holds what ends the open streams.
type ends struct {
	mu     sync.Mutex
	closed bool
	all    map[*context.CancelFunc]struct{}
}

// add keeps f until remove is called. After a close it calls f at once.
func (e *ends) add(f context.CancelFunc) (remove func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		f()
	}
	if e.all == nil {
		e.all = make(map[*context.CancelFunc]struct{})
	}
	e.all[&f] = struct{}{}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.all, &f)
	}
}

// close ends all streams.
func (e *ends) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for f := range e.all {
		(*f)()
	}
}
