package udp

import (
	"sync"
	"time"
)

// What is sent again comes all at once, from all flows that a connection takes over. A peer drops datagrams that its receive
// queue has no room for (128 with quic-go), so it goes in bursts with pauses; what is new does not wait for it.
const (
	resendBurst = 32
	resendPause = 2 * time.Millisecond
)

// outbox holds the datagrams that wait for the transport of one connection, which blocks while its peer is silent.
type outbox struct {
	// wake has room for one token, which says that there is something to take.
	wake chan struct{}

	// mu guards the rest.
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

// put adds b, which the outbox keeps, unless more than limit bytes would wait then; it reports whether it did.
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

// putAgain adds what is sent once more: a bound on that holds already.
func (o *outbox) putAgain(bs [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.again = append(o.again, bs...)
	o.signal()
}

// take gives all that waits, in order, and takes room for what comes next.
func (o *outbox) take(room [][]byte) [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.waiting
	o.waiting, o.bytes = room[:0], 0
	return out
}

// takeAgain gives a burst of what is sent once more, or nothing.
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
