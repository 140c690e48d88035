package mux

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// Role is the end of an HTTP/2 connection, independent of who dialled.
type Role int

// The roles.
const (
	Client Role = iota + 1
	Server
)

// Config has the limits of one connection.
type Config struct {
	Role Role
	// StreamWindow is how many bytes the peer may send ahead on a new stream. It grows to MaxStreamWindow for a reader that
	// keeps up. ConnWindow bounds all streams together.
	StreamWindow, MaxStreamWindow, ConnWindow int
	// MaxFrame is the largest frame that is accepted.
	MaxFrame uint32
	// Headers bounds one header or trailer section, decoded. AnnouncedHeaderList is the limit that our
	// SETTINGS frame announces to the peer.
	Headers             httpfield.Limits
	AnnouncedHeaderList uint32
	// HeaderBudget bounds the decoded bytes of all headers and trailers of the connection that no reader has taken yet.
	HeaderBudget int
	// TooLarge is the response of a server to a request whose header exceeds Headers. Without one the stream is reset.
	TooLarge []Field
	// MaxStreams bounds the peer's streams: those that run, and those that it reset and that this end has not closed yet.
	// AnnouncedStreams is the limit that SETTINGS announce.
	AnnouncedStreams, MaxStreams uint32
	// Probation bounds the peer until Admit is called. Zero values mean the ordinary limits.
	Probation Probation
	// PingAfter is the silence after which a PING is sent; PingTimeout is how long its acknowledgement may take. It may take BusyTimeout, if
	// that is longer, when more than BusyBytes were written before it that the peer may not have read: then it waits behind them.
	PingAfter, PingTimeout, BusyTimeout time.Duration
	// OutBuffer is how many bytes may wait for the network before writers have to wait.
	OutBuffer int
	// Incoming is called with every stream of the peer, on the reading goroutine: it must not block. Nil refuses all.
	Incoming func(*Stream)
	// Lost may find out more about the reason why reading or writing failed. It is called before the connection ends, unless this end
	// has closed it or the peer has sent GOAWAY. It may be nil.
	Lost func(*tunnel.ConnError) *tunnel.ConnError
}

// Probation has the limits for a peer that has not proved yet who it is.
type Probation struct {
	MaxStreams uint32
	ConnWindow int
}

const (
	// frameHeader is the size of a frame's header.
	frameHeader = 9
	// initialWindow and initialFrame are valid until the peer's SETTINGS say otherwise (RFC 9113 6.5.2).
	initialWindow = 65535
	initialFrame  = 16 << 10
	// maxWindow is the largest window and the largest stream id that the protocol allows.
	maxWindow = 1<<31 - 1
	// unsentKey is larger than all stream ids.
	unsentKey = 1 << 31
	// maxChunk bounds a DATA frame that we send, whatever the peer allows, since streams take turns frame by frame.
	maxChunk = 64 << 10
	// maxTable bounds the memory that the peer may make our header compression use.
	maxTable = 64 << 10
	// decoderTable is the size of the peer's compression table that we announce and keep.
	decoderTable = 4 << 10
	// maxBlock bounds a header block on the wire, compressed. A larger one ends the connection.
	maxBlock = 2 << 20
	// maxString bounds one decoded string. No block of maxBlock bytes can exceed it, since Huffman codes have at least 5 bits.
	maxString = 4 << 20
	// maxControl bounds the bytes that wait for a peer that provokes replies (PING, SETTINGS, errors) and does not read them.
	maxControl = 64 << 10
	// maxResets bounds the resets that wait for the network, beyond one for each stream that the peer may have.
	maxResets = 4096
	// maxSettings bounds the settings in one frame.
	maxSettings = 64
	// maxInterim bounds the interim responses that wait for a reader.
	maxInterim = 8
	// readBuffer is small because larger payloads are read straight into blocks.
	readBuffer = 4 << 10
	// closeTimeout is how long sending the last bytes may take.
	closeTimeout = time.Second
	// maxDebug bounds the text of a GOAWAY.
	maxDebug = 256
)
