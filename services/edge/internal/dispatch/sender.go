package dispatch

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// MaxAttempts bounds how often one request is sent.
	MaxAttempts = 3
	// MaxInFlight bounds the requests on one connection.
	MaxInFlight = 16384
)

// Picker chooses the connection for a request and counts the request on it.
type Picker interface {
	Pick(id tunnel.ID, exclude *registry.Conn) (*registry.Conn, bool)
}

// ConnectorPicker can choose among the connections of one connector, too.
type ConnectorPicker interface {
	Picker
	PickOf(id tunnel.ID, connector tunnel.ConnectorID, exclude *registry.Conn) (*registry.Conn, bool)
}

// oneConnector picks connections of one connector.
type oneConnector struct {
	conns     ConnectorPicker
	connector tunnel.ConnectorID
}

// Pick chooses a connection of the connector.
func (o oneConnector) Pick(id tunnel.ID, exclude *registry.Conn) (*registry.Conn, bool) {
	return o.conns.PickOf(id, o.connector, exclude)
}

// Sender sends requests to the connectors of tunnels.
type Sender struct {
	conns   Picker
	retries prometheus.Counter
}

// NewSender makes a sender; retries counts the attempts after the first.
func NewSender(conns Picker, retries prometheus.Counter) *Sender {
	return &Sender{conns: conns, retries: retries}
}

// ForConnector is a sender that uses connections of one connector. A sender whose picker cannot choose among them uses all.
func (s *Sender) ForConnector(connector tunnel.ConnectorID) *Sender {
	conns, ok := s.conns.(ConnectorPicker)
	if !ok {
		return s
	}
	return &Sender{conns: oneConnector{conns, connector}, retries: s.retries}
}

// Send calls attempt with a connection of the tunnel until it succeeds, which is nil, or until the rules of the package
// allow no further attempt. After a success the caller releases conn. After a failure conn is the connection of the
// last attempt, for logs only, or nil.
func (s *Sender) Send(ctx context.Context, id tunnel.ID, attempt func(*registry.Conn) *Failure) (conn *registry.Conn, f *Failure) {
	f = &Failure{Kind: NoConnection, Detail: "the tunnel has no connection"}
	for n := range MaxAttempts {
		if ctx.Err() != nil { // the visitor has gone: the connector need not get the request
			return conn, &Failure{Kind: Canceled, Detail: context.Cause(ctx).Error()}
		}
		next, ok := s.conns.Pick(id, conn)
		if !ok {
			return conn, f
		}
		conn = next
		if conn.InFlight() > MaxInFlight {
			conn.Release()
			return conn, &Failure{Kind: Busy, Detail: "the connection carries too many requests"}
		}
		if n > 0 {
			s.retries.Inc()
		}
		if f = attempt(conn); f == nil {
			return conn, nil
		}
		conn.Release()
		if !f.Retry {
			return conn, f
		}
	}
	return conn, f
}

// Elsewhere reports whether the tunnel has another connection than conn that is not in doubt.
func (s *Sender) Elsewhere(id tunnel.ID, conn *registry.Conn) bool {
	other, ok := s.conns.Pick(id, conn)
	if !ok {
		return false
	}
	defer other.Release()
	return !other.InDoubt()
}
