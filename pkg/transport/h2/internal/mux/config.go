package mux

import "time"

// Role is which end of an HTTP/2 connection this is, whoever dialled.
type Role int

// The roles.
const (
	Client Role = iota + 1
	Server
)

// Config are the limits of one connection.
type Config struct {
	Role Role
	// StreamWindow is how much the peer may send ahead on a new stream; it grows to MaxStreamWindow for a reader that
	// keeps up. ConnWindow bounds all streams together.
	StreamWindow, MaxStreamWindow, ConnWindow int
	// MaxFrame is the largest frame that is accepted, MaxHeaderList the largest head.
	MaxFrame, MaxHeaderList uint32
	// AnnouncedStreams is what the peer is told, MaxStreams what it gets: streams that run, or that it reset and nobody
	// has cleared away yet.
	AnnouncedStreams, MaxStreams uint32
	// PingAfter is the silence after which the peer is asked whether it lives, PingTimeout how long it may take to answer.
	PingAfter, PingTimeout time.Duration
	// OutBuffer is how much waits for the network before writers wait, too.
	OutBuffer int
	// Incoming gets every stream of the peer, on the reading goroutine: it must not block. Nil refuses all.
	Incoming func(*Stream)
}

const (
	// frameHeader is the size of a frame's header.
	frameHeader = 9
	// initialWindow and initialFrame hold until the peer's settings say otherwise (RFC 9113, 6.5.2).
	initialWindow = 65535
	initialFrame  = 16 << 10
	// maxWindow is the largest window, and the largest stream number, that there is.
	maxWindow = 1<<31 - 1
	// unsentKey is beyond all stream numbers.
	unsentKey = 1 << 31
	// maxChunk bounds a frame that we send, whatever the peer allows: streams take turns by frames.
	maxChunk = 64 << 10
	// maxTable bounds the memory that the peer may ask our header compression to use.
	maxTable = 64 << 10
	// maxControl bounds the answers, in bytes, to a peer that asks and does not read.
	maxControl = 64 << 10
	// maxResets is how many resets wait for the network beyond those of streams that the peer may have at a time.
	maxResets = 4096
	// maxSettings is how many settings one frame may hold.
	maxSettings = 64
	// maxHeads bounds the interim heads that wait for a reader.
	maxHeads = 8
	// readBuffer is small, since what is larger goes straight to its place.
	readBuffer = 4 << 10
	// closeTimeout is how long the last bytes may take.
	closeTimeout = time.Second
	// maxDebug bounds the text of a GOAWAY.
	maxDebug = 256
)
