package quic

import (
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// Numbers of docs/spec/wire.md 4.
const (
	initialStreamWindow = 512 << 10
	packetSizeIPv4      = 1232 // 1280, the smallest MTU of a tunnel in between, less 20 + 8 and a reserve
	packetSizeIPv6      = 1252
)

// Settings are the settings of one end of a session. Start from ConnectorSettings or EdgeSettings.
type Settings struct {
	// IdleTimeout ends a session that was silent for so long. The smaller of both ends' values applies.
	IdleTimeout time.Duration
	// KeepAlive is the time without traffic after which a PING is sent.
	KeepAlive time.Duration
	// HandshakeTimeout is the longest silence during the handshake.
	HandshakeTimeout time.Duration
	// ConnWindow and StreamWindow are the largest receive windows, in bytes. FirstConnWindow and FirstStreamWindow are
	// those at the beginning; they grow for readers that keep up.
	ConnWindow, StreamWindow           uint64
	FirstConnWindow, FirstStreamWindow uint64
	// MaxStreams is the number of bidirectional streams that the peer may have open. One packet can open all of them, so it
	// bounds memory as well. There are no unidirectional streams on this wire, and the peer may not open any.
	MaxStreams int64
	// ProbationBytes ends a session whose peer sends more bytes than that before Session.Admit is called; 0 means no limit.
	ProbationBytes uint64
	// DisablePMTU disables path MTU discovery.
	DisablePMTU bool
}

// ConnectorSettings are the values of the dialling end. Two of them differ from the reference (docs/spec/wire.md 4): the
// connection's window has its full size from the start, since it does not grow while readers stand still and two of them
// would fill it (docs/adr/0015); and the number of streams is bounded, since each costs memory before anything accepts it. A
// registration takes a few KiB of ProbationBytes; the rest is for requests that follow it at once.
func ConnectorSettings() Settings {
	return Settings{
		IdleTimeout:       5 * time.Second,
		KeepAlive:         time.Second,
		HandshakeTimeout:  5 * time.Second,
		ConnWindow:        30 << 20,
		StreamWindow:      6 << 20,
		FirstConnWindow:   30 << 20,
		FirstStreamWindow: initialStreamWindow,
		MaxStreams:        1 << 15,
		ProbationBytes:    4 << 20,
	}
}

// EdgeSettings are the values of the listening end. The idle timeout is longer than a connector's, so that the connector's
// value applies. A connector opens the control stream, and one short stream for each UDP session that it ends; further ones
// wait for their turn. So a connector that has not registered can make the edge hold 16 streams of 256 KiB.
func EdgeSettings() Settings {
	return Settings{
		IdleTimeout:       15 * time.Second,
		KeepAlive:         2 * time.Second,
		HandshakeTimeout:  5 * time.Second,
		ConnWindow:        64 << 20,
		StreamWindow:      6 << 20,
		FirstConnWindow:   64 << 20,
		FirstStreamWindow: 256 << 10,
		MaxStreams:        16,
	}
}

// config translates s for the library. The family of peer decides the initial packet size; it may be zero on the listening
// side.
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
		MaxIncomingUniStreams:          -1,
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
