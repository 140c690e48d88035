package quic

import (
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// The wire's numbers (docs/spec/wire.md 4).
const (
	initialStreamWindow = 512 << 10
	maxStreams          = 1 << 60
	packetSizeIPv4      = 1232 // 1280, the smallest MTU of a tunnel in between, less 20 + 8 and room to spare
	packetSizeIPv6      = 1252
)

// Settings are the knobs of one end of a session. Start from ConnectorSettings or EdgeSettings.
type Settings struct {
	// IdleTimeout ends a session that was silent for so long; the smaller of both ends' values holds.
	IdleTimeout time.Duration
	// KeepAlive is the time without traffic after which a PING is sent.
	KeepAlive time.Duration
	// HandshakeTimeout is the longest silence during the handshake.
	HandshakeTimeout time.Duration
	// ConnWindow and StreamWindow are the largest receive windows, in bytes; FirstConnWindow and FirstStreamWindow are
	// those at the begin, which grow for readers that keep up.
	ConnWindow, StreamWindow           uint64
	FirstConnWindow, FirstStreamWindow uint64
	// MaxStreams is how many streams of each kind the peer may have open.
	MaxStreams int64
	// DisablePMTU switches path MTU discovery off.
	DisablePMTU bool
}

// ConnectorSettings are the values of the dialling end (docs/spec/wire.md 4), but for the connection's window, which is all there
// at once: it does not grow while readers stand still, and would be full with two of them (docs/adr/0015).
func ConnectorSettings() Settings {
	return Settings{
		IdleTimeout:       5 * time.Second,
		KeepAlive:         time.Second,
		HandshakeTimeout:  5 * time.Second,
		ConnWindow:        30 << 20,
		StreamWindow:      6 << 20,
		FirstConnWindow:   30 << 20,
		FirstStreamWindow: initialStreamWindow,
		MaxStreams:        maxStreams,
	}
}

// EdgeSettings are the values of the listening end: the idle timeout is longer than a connector's, so that the
// connector's own value decides, and the peer opens few streams (control, and one per closing session).
func EdgeSettings() Settings {
	return Settings{
		IdleTimeout:       15 * time.Second,
		KeepAlive:         2 * time.Second,
		HandshakeTimeout:  5 * time.Second,
		ConnWindow:        64 << 20,
		StreamWindow:      6 << 20,
		FirstConnWindow:   64 << 20,
		FirstStreamWindow: 256 << 10,
		MaxStreams:        1024,
	}
}

// config translates s; peer decides the initial packet size and may be zero on the listening side.
func (s Settings) config(peer netip.Addr) *quicgo.Config {
	c := &quicgo.Config{
		Versions:                       []quicgo.Version{quicgo.Version1},
		HandshakeIdleTimeout:           s.HandshakeTimeout,
		MaxIdleTimeout:                 s.IdleTimeout,
		KeepAlivePeriod:                s.KeepAlive,
		InitialStreamReceiveWindow:     min(s.FirstStreamWindow, s.StreamWindow),
		MaxStreamReceiveWindow:         s.StreamWindow,
		InitialConnectionReceiveWindow: min(s.FirstConnWindow, s.ConnWindow),
		MaxConnectionReceiveWindow:     s.ConnWindow,
		MaxIncomingStreams:             s.MaxStreams,
		MaxIncomingUniStreams:          s.MaxStreams,
		EnableDatagrams:                true,
		DisablePathMTUDiscovery:        s.DisablePMTU,
	}
	switch {
	case peer.Is6() && !peer.Is4In6():
		c.InitialPacketSize = packetSizeIPv6
	default:
		c.InitialPacketSize = packetSizeIPv4
	}
	return c
}
