package h2

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
)

// The numbers of a connector's SETTINGS (docs/spec/wire.md 9.1).
const (
	wireFrame      = 1 << 20
	wireHeaderList = 1048896
	wireWindow     = 1 << 20
	wireStreams    = 1<<32 - 1
)

// Settings are the knobs of one end of a session. Start from ConnectorSettings or EdgeSettings.
type Settings struct {
	// DialTimeout bounds the TCP connect, HandshakeTimeout the TLS handshake.
	DialTimeout, HandshakeTimeout time.Duration
	// PingInterval is the silence after which the peer is asked whether it lives, PingTimeout how long it may take to
	// answer before the session is lost.
	PingInterval, PingTimeout time.Duration
	// WriteTimeout ends a session whose peer takes no byte for so long.
	WriteTimeout time.Duration
	// StreamWindow is how much the peer may send ahead on a stream; it grows up to MaxStreamWindow for readers that keep
	// up. ConnWindow bounds all streams together: it is what slow readers can cost in memory.
	StreamWindow, MaxStreamWindow, ConnWindow int
	// MaxFrame is the largest frame, MaxHeaderList the largest head that is accepted.
	MaxFrame, MaxHeaderList uint32
	// MaxStreams is how many streams the peer gets; more are refused. AnnouncedStreams is what it is told.
	MaxStreams, AnnouncedStreams uint32
	// OutBuffer is how much may wait for the network.
	OutBuffer int
	// MaxHandshakes bounds the TLS handshakes of a listener that run at a time.
	MaxHandshakes int
}

// ConnectorSettings are the values of the dialling end (docs/spec/wire.md 3 and 9.1).
func ConnectorSettings() Settings {
	return Settings{
		DialTimeout:      15 * time.Second,
		HandshakeTimeout: 15 * time.Second,
		PingInterval:     5 * time.Second,
		PingTimeout:      10 * time.Second,
		WriteTimeout:     30 * time.Second,
		StreamWindow:     wireWindow,
		MaxStreamWindow:  wireWindow,
		ConnWindow:       32 << 20,
		MaxFrame:         wireFrame,
		MaxHeaderList:    wireHeaderList,
		MaxStreams:       1 << 16,
		AnnouncedStreams: wireStreams,
		OutBuffer:        256 << 10,
	}
}

// EdgeSettings are the values of the listening end. Its windows start small, since slow visitors are its daily bread.
func EdgeSettings() Settings {
	return Settings{
		HandshakeTimeout: 10 * time.Second,
		PingInterval:     5 * time.Second,
		PingTimeout:      10 * time.Second,
		WriteTimeout:     30 * time.Second,
		StreamWindow:     256 << 10,
		MaxStreamWindow:  1 << 20,
		ConnWindow:       64 << 20,
		MaxFrame:         64 << 10,
		MaxHeaderList:    wireHeaderList,
		OutBuffer:        256 << 10,
		MaxHandshakes:    256,
	}
}

func (s Settings) config(role mux.Role, incoming func(*mux.Stream)) mux.Config {
	return mux.Config{
		Role:         role,
		StreamWindow: s.StreamWindow, MaxStreamWindow: s.MaxStreamWindow, ConnWindow: s.ConnWindow,
		MaxFrame: s.MaxFrame, MaxHeaderList: s.MaxHeaderList,
		AnnouncedStreams: s.AnnouncedStreams, MaxStreams: s.MaxStreams,
		PingAfter: s.PingInterval, PingTimeout: s.PingTimeout,
		OutBuffer: s.OutBuffer, Incoming: incoming,
	}
}
