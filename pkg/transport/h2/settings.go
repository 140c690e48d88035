package h2

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// The numbers of a connector's SETTINGS (docs/spec/wire.md 9.1).
const (
	wireFrame      = 1 << 20
	wireHeaderList = 1048896
	wireWindow     = 1 << 20
	wireStreams    = 1<<32 - 1
)

// blockRoom is for the fields of a response beside its block, which has the origin's header as base64 and so takes four
// bytes for three.
const blockRoom = 16 << 10

// Settings are the settings of one end of a session. Start from ConnectorSettings or EdgeSettings.
type Settings struct {
	// DialTimeout bounds the TCP connect, HandshakeTimeout the TLS handshake.
	DialTimeout, HandshakeTimeout time.Duration
	// PingInterval is the silence after which a PING is sent. The session is lost when nothing arrives within PingTimeout, or within
	// BusyTimeout when much was sent that the peer may not have read yet (mux.BusyBytes).
	PingInterval, PingTimeout, BusyTimeout time.Duration
	// WriteTimeout ends a session whose peer reads no byte for so long.
	WriteTimeout time.Duration
	// StreamWindow is how many bytes the peer may send ahead on a stream. It grows up to MaxStreamWindow for readers that
	// keep up. ConnWindow bounds all streams together, and so the memory that slow readers can cost.
	StreamWindow, MaxStreamWindow, ConnWindow int
	// MaxFrame is the largest frame that is accepted.
	MaxFrame uint32
	// Headers bounds the header or trailers that a visitor or an origin may send. Here they may be a little larger, since the
	// edge adds fields of its own. A larger request gets status 431, a larger response or trailers reset the stream.
	// AnnouncedHeaderList is the limit that SETTINGS announce to the peer.
	Headers             httpfield.Limits
	AnnouncedHeaderList uint32
	// HeaderBudget bounds, in bytes, the decoded headers and trailers of a session that were not read yet. Streams beyond are
	// refused or reset.
	HeaderBudget int
	// MaxStreams bounds the peer's streams; more are refused. AnnouncedStreams is the limit
	// that SETTINGS announce to the peer.
	MaxStreams, AnnouncedStreams uint32
	// ProbationStreams and ProbationWindow replace MaxStreams and ConnWindow until Session.Admit is called. 0 means no
	// other limit.
	ProbationStreams uint32
	ProbationWindow  int
	// OutBuffer is how many bytes may wait for the network.
	OutBuffer int
	// MaxHandshakes bounds the TLS handshakes of a listener that run at the same time.
	MaxHandshakes int
}

// ConnectorSettings are the values of the dialling end (docs/spec/wire.md 3 and 9.1).
func ConnectorSettings() Settings {
	return Settings{
		DialTimeout:      5 * time.Second,
		HandshakeTimeout: 10 * time.Second,
		PingInterval:     3 * time.Second,
		PingTimeout:      3 * time.Second,
		BusyTimeout:      12 * time.Second,
		WriteTimeout:     30 * time.Second,
		StreamWindow:     wireWindow,
		MaxStreamWindow:  wireWindow,
		ConnWindow:       32 << 20,
		MaxFrame:         wireFrame,
		MaxStreams:       1 << 16,
		AnnouncedStreams: wireStreams,
		OutBuffer:        256 << 10,

		Headers:             httpfield.DefaultLimits(),
		AnnouncedHeaderList: wireHeaderList,
		HeaderBudget:        16 << 20,
		ProbationStreams:    256,
		ProbationWindow:     wireWindow,
	}
}

// EdgeSettings are the values of the listening end. Its windows start small, since many visitors read slowly.
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
		OutBuffer:        256 << 10,
		MaxHandshakes:    256,

		Headers:             httpfield.DefaultLimits(),
		AnnouncedHeaderList: wireHeaderList,
		HeaderBudget:        16 << 20,
	}
}

func (s Settings) config(role mux.Role, incoming func(*mux.Stream)) mux.Config {
	headers, tooLarge := s.Headers.BehindEdge(), []mux.Field(nil)
	if role == mux.Server {
		tooLarge = h2head.TooLargeResponse()
	} else {
		headers.MaxBytes = headers.MaxBytes/3*4 + blockRoom
	}
	return mux.Config{
		Role:         role,
		StreamWindow: s.StreamWindow, MaxStreamWindow: s.MaxStreamWindow, ConnWindow: s.ConnWindow,
		MaxFrame: s.MaxFrame, Headers: headers, AnnouncedHeaderList: s.AnnouncedHeaderList, HeaderBudget: s.HeaderBudget,
		TooLarge: tooLarge, Probation: mux.Probation{MaxStreams: s.ProbationStreams, ConnWindow: s.ProbationWindow},
		AnnouncedStreams: s.AnnouncedStreams, MaxStreams: s.MaxStreams,
		PingAfter: s.PingInterval, PingTimeout: s.PingTimeout, BusyTimeout: s.BusyTimeout,
		OutBuffer: s.OutBuffer, Incoming: incoming,
	}
}
