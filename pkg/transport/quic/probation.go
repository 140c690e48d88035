package quic

import (
	"errors"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// probationInterval is how often a session in probation is checked.
const probationInterval = 20 * time.Millisecond

var errProbation = errors.New("the peer sent too much before the registration")

// probation ends a session whose peer sends more than limit bytes before Admit is called. QUIC's own limits cannot do
// that: they are announced in the handshake, and the connection's window could not grow to its final size later while
// readers are slow (docs/adr/0015).
type probation struct {
	limit uint64

	mu       sync.Mutex
	timer    *time.Timer // nil when there is no limit, and after Admit
	exceeded bool
}

// start begins to check the connection.
func (p *probation) start(conn *quicgo.Conn, limit uint64) {
	if limit == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = limit
	p.timer = time.AfterFunc(probationInterval, func() {
		if p.check(conn) {
			_ = conn.CloseWithError(0, errProbation.Error()) // fails only when the session has ended
		}
	})
}

// check reports whether the session must end.
func (p *probation) check(conn *quicgo.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.timer == nil, conn.Context().Err() != nil:
	case conn.ConnectionStats().BytesReceived <= p.limit:
		p.timer.Reset(probationInterval)
	default:
		p.timer, p.exceeded = nil, true
	}
	return p.exceeded
}

// end ends the checks.
func (p *probation) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// cause gives the reason of a session's end: the probation, or err.
func (p *probation) cause(err error) *tunnel.ConnError {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exceeded {
		return &tunnel.ConnError{Reason: tunnel.ReasonInternal, Err: errProbation}
	}
	return sessionError(err)
}
