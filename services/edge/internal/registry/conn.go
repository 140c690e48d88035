package registry

import (
	"encoding/json"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// State is where a connection is in its life.
type State string

// The states of a connection. Active is the only one in which it gets new requests; nothing leads back to it.
const (
	Active       State = "active"
	Unregistered State = "unregistered" // the connector drains
	Replaced     State = "replaced"     // a newer registration of the slot took its place
	Evicted      State = "evicted"      // the tunnel was deleted
	Gone         State = "gone"         // the session ended
)

// Info is what is known of a connection from its registration. It never changes.
type Info struct {
	ID       [16]byte
	Slot     tunnel.Slot
	Epoch    tunnel.Epoch
	Protocol tunnel.Protocol
	Version  string
	Arch     string
	Features []string
	Local    netip.AddrPort
	Remote   netip.AddrPort
	Since    time.Time
}

// Conn is one registered connection.
type Conn struct {
	Info
	Session transport.Session

	can      ability
	inFlight atomic.Int64
	config   atomic.Pointer[json.RawMessage]
	pushed   atomic.Pointer[Push]
	// retired is closed when the connection leaves the state Active.
	retired     chan struct{}
	retiredOnce sync.Once
	// quiet has one place: a note that the last request of a retired connection ended.
	quiet chan struct{}

	// The table's mutex protects the fields below.
	state State
	seq   uint64
}

// NewConn makes a connection that is not in any table yet.
func NewConn(info Info, session transport.Session) *Conn {
	return &Conn{Info: info, Session: session, can: abilityOf(&info), retired: make(chan struct{}), quiet: make(chan struct{}, 1)}
}

// Release ends one request that Pick began.
func (c *Conn) Release() {
	if c.inFlight.Add(-1) > 0 {
		return
	}
	select {
	case <-c.retired:
		select {
		case c.quiet <- struct{}{}:
		default: // a note is there already
		}
	default:
	}
}

// InFlight is the number of requests on the connection.
func (c *Conn) InFlight() int64 { return c.inFlight.Load() }

// Retired is closed when the connection gets no new requests any more.
func (c *Conn) Retired() <-chan struct{} { return c.retired }

// Quiet delivers a note when the last request of a retired connection ended; look at InFlight first.
func (c *Conn) Quiet() <-chan struct{} { return c.quiet }

// SetLocalConfig keeps what the connector uploaded for display.
func (c *Conn) SetLocalConfig(doc json.RawMessage) { c.config.Store(&doc) }

// LocalConfig is the last upload, or nil.
func (c *Conn) LocalConfig() json.RawMessage {
	if doc := c.config.Load(); doc != nil {
		return *doc
	}
	return nil
}

// Push is what came of the last configuration that was pushed over a connection.
type Push struct {
	// Version was pushed, Applied is what the connector has in force; -1 is none.
	Version, Applied int32
	// Error is empty after a success.
	Error string
	At    time.Time
}

// SetPushed keeps what came of a push.
func (c *Conn) SetPushed(p Push) { c.pushed.Store(&p) }

// Pushed is the last push.
func (c *Conn) Pushed() Push {
	if p := c.pushed.Load(); p != nil {
		return *p
	}
	return Push{Version: -1, Applied: -1}
}

func (c *Conn) alive() bool { return c.Session.Context().Err() == nil }
