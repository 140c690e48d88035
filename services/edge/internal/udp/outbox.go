package udp

import (
	"sync"
	"time"
)

// All flows that move to a connection retransmit at the same time. A peer drops datagrams beyond its receive queue (128 with
// quic-go), so retransmissions are sent in bursts with pauses. New datagrams do not wait for them.
const (
	resendBurst = 32
	resendPause = 2 * time.Millisecond
)

// outbox holds the datagrams that wait for the transport of one connection, which blocks while the peer does not respond.
type outbox struct {
	// wake has a buffer of one; a token says that datagrams wait.
	wake chan struct{}

	// mu protects the rest.
	mu      sync.Mutex
	waiting [][]byte
	bytes   int
	again   [][]byte
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// put queues b and keeps it, unless more than limit bytes would wait; it reports whether it did.
func (o *outbox) put(b []byte, limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes+len(b) > limit {
		return false
	}
	o.waiting, o.bytes = append(o.waiting, b), o.bytes+len(b)
	if len(o.waiting) == 1 {
		o.signal()
	}
	return true
}

// putAgain queues retransmissions, which the budget of kept bytes bounds already.
func (o *outbox) putAgain(bs [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.again = append(o.again, bs...)
	o.signal()
}

// take returns all waiting datagrams in order; room becomes the buffer for the next ones.
func (o *outbox) take(room [][]byte) [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.waiting
	o.waiting, o.bytes = room[:0], 0
	return out
}

// takeAgain returns a burst of retransmissions, or none.
func (o *outbox) takeAgain() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(resendBurst, len(o.again))
	out := o.again[:n:n]
	if o.again = o.again[n:]; len(o.again) == 0 {
		o.again = nil
	}
	return out
}
