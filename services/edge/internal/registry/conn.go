package registry

import (
	"encoding/json"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog/evict"
)

// State is the state of a registered connection.
type State string

// The states of a connection. Only an Active connection gets new requests. No other state leads back to Active.
const (
	Active       State = "active"
	Unregistered State = "unregistered" // by the connector, which drains
	Replaced     State = "replaced"     // by a newer registration of its slot
	Evicted      State = "evicted"      // the tunnel was deleted
	Gone         State = "gone"         // the session ended
)

// Info is what a registration states about a connection. It never changes.
type Info struct {
	ID       [16]byte
	Slot     tunnel.Slot
	Epoch    tunnel.Epoch
	Protocol tunnel.Protocol
	// Window is the receive window of the edge.
	Window   Window
	Version  string
	Arch     string
	Features []string
	Local    netip.AddrPort
	Remote   netip.AddrPort
	Since    time.Time
}

// Window is the flow-control window of a connection, in bytes: of the whole connection, and of one stream at its beginning and
// at most.
type Window struct{ Conn, First, Most int64 }

// Conn is one registered connection.
type Conn struct {
	Info
	Session transport.Session

	can    ability
	load   load
	trust  trust
	config atomic.Pointer[json.RawMessage]
	pushed atomic.Pointer[Push]
	// retired is closed when the connection leaves the state Active.
	retired     chan struct{}
	retiredOnce sync.Once
	// drained holds one note: that the last request of a retired connection ended.
	drained chan struct{}

	// The table's mutex guards the fields below.
	state State
	seq   uint64
}

// NewConn makes a connection. Table.Register adds it to a table.
func NewConn(info Info, session transport.Session) *Conn {
	c := &Conn{Info: info, Session: session, can: abilityOf(&info), retired: make(chan struct{}), drained: make(chan struct{}, 1)}
	c.trust.prober, _ = session.(transport.Prober)
	return c
}

// Release ends one request that Pick began.
func (c *Conn) Release() {
	if c.load.end() > 0 {
		return
	}
	select {
	case <-c.retired:
		select {
		case c.drained <- struct{}{}:
		default: // there is a note already
		}
	default:
	}
}

// InFlight is the number of requests on the connection.
func (c *Conn) InFlight() int64 { return c.load.inFlight() }

// ReceiveWindow is the receive window of the edge for the connection.
func (c *Conn) ReceiveWindow() evict.Window { return evict.Window(c.Window) }

// Retired returns a channel that is closed when the connection gets no new requests any more.
func (c *Conn) Retired() <-chan struct{} { return c.retired }

// Drained delivers a note when the last request of a retired connection has ended. Check InFlight first: no note follows
// when none was in flight.
func (c *Conn) Drained() <-chan struct{} { return c.drained }

// SetLocalConfig keeps the configuration that the connector uploaded, for display.
func (c *Conn) SetLocalConfig(doc json.RawMessage) { c.config.Store(&doc) }

// LocalConfig returns the last upload, or nil.
func (c *Conn) LocalConfig() json.RawMessage {
	if doc := c.config.Load(); doc != nil {
		return *doc
	}
	return nil
}

// Push is the result of the last configuration that was pushed over a connection.
type Push struct {
	// Version was pushed; the connector applies Applied. -1 is none.
	Version, Applied int32
	// Error is empty after a success.
	Error string
	At    time.Time
}

// SetPushed keeps the result of a push.
func (c *Conn) SetPushed(p Push) { c.pushed.Store(&p) }

// Pushed returns the result of the last push.
func (c *Conn) Pushed() Push {
	if p := c.pushed.Load(); p != nil {
		return *p
	}
	return Push{Version: -1, Applied: -1}
}

// session is the connection as the rule of its slot sees it.
func (c *Conn) session() admit.Session {
	return admit.Session{Epoch: c.Epoch, Local: c.Local, Remote: c.Remote}
}

func (c *Conn) alive() bool { return c.Session.Context().Err() == nil }
