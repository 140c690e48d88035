package tunnel

import (
	"fmt"
	"net/netip"
)

// ConnIndex is the slot number 0..N-1 of a connector's connections. One byte, as on the wire (docs/spec/wire.md 8.1).
type ConnIndex uint8

// Epoch is the fencing token of a slot: it grows with every grant, and an older one is refused everywhere
// (docs/spec/lifecycle.md 14.3). Zero means "never granted".
type Epoch uint64

// Region names a failure domain of edge addresses.
type Region string

// WorkerID names one conn-worker process.
type WorkerID string

// ProxyID names one proxy process.
type ProxyID string

// EdgeAddr is one address of the edge, usable over UDP and TCP, in its region.
type EdgeAddr struct {
	Addr   netip.AddrPort `json:"addr"`
	Region Region         `json:"region"`
}

// IsZero reports whether a is no address at all.
func (a EdgeAddr) IsZero() bool { return !a.Addr.IsValid() }

// String is "address:port".
func (a EdgeAddr) String() string { return a.Addr.String() }

// Slot is the unit that is leased: one connection index of one connector of one tunnel.
type Slot struct {
	Tunnel    ID          `json:"tunnel_id"`
	Connector ConnectorID `json:"connector_id"`
	Index     ConnIndex   `json:"conn_index"`
}

// String is for logs and messages only.
func (s Slot) String() string { return fmt.Sprintf("%s/%s/%d", s.Tunnel, s.Connector, s.Index) }

// Protocol is the transport kind of a connection.
type Protocol string

// The transports that the wire knows (docs/spec/wire.md 1).
const (
	QUIC  Protocol = "quic"
	HTTP2 Protocol = "http2"
)

// ParseProtocol accepts exactly "quic" and "http2".
func ParseProtocol(s string) (Protocol, error) {
	switch p := Protocol(s); p {
	case QUIC, HTTP2:
		return p, nil
	default:
		return "", fmt.Errorf("protocol %q is none of quic, http2", s)
	}
}
