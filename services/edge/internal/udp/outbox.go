package udp

import "sync"

// outbox holds the datagrams that wait for the transport of one connection, which blocks while its peer is silent.
type outbox struct {
	// wake has room for one token, which says that there is something to take.
	wake chan struct{}

	// mu guards the rest.
	mu      sync.Mutex
	waiting [][]byte
	bytes   int
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put adds b, which the outbox keeps, unless more than limit bytes would wait then; it reports whether it did.
func (o *outbox) put(b []byte, limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes+len(b) > limit {
		return false
	}
	o.waiting, o.bytes = append(o.waiting, b), o.bytes+len(b)
	if len(o.waiting) == 1 {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// take gives all that waits, in order, and takes room for what comes next.
func (o *outbox) take(room [][]byte) [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.waiting
	o.waiting, o.bytes = room[:0], 0
	return out
}
