package conn

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// overtakeAfter is how long a dial that was overtaken may still take: a response may be on its way.
const overtakeAfter = 500 * time.Millisecond

// heldAgain is the time after which a second dial that is held is looked at again.
const heldAgain = 250 * time.Millisecond

// delay says when the second dial of a race begins: after a time, and not while it is held.
type delay struct {
	after time.Duration
	held  func() bool
}

// opener opens a session.
type opener func(ctx context.Context) (transport.Session, error)

// opened is the result of an opener.
type opened struct {
	session transport.Session
	err     error
}

// run runs an opener. discard ends it and waits for it, and closes what it opened.
func (o opener) run(ctx context.Context) (result <-chan opened, discard func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan opened, 1)
	go func() {
		s, err := o(ctx)
		done <- opened{session: s, err: err}
		close(done)
	}()
	return done, func() {
		cancel()
		if r := <-done; r.err == nil && r.session != nil { // nothing if the result was taken
			_ = r.session.CloseWithError(transport.NoError, "") // nothing uses it
		}
	}
}

// race opens a session by the first opener, and by the second one beside it if the first has no result by its start. A session of the
// second one counts if the first has none soon after it; the error is that of the first one. It returns when both have ended.
func race(ctx context.Context, when delay, first, second opener) (s transport.Session, overtaken bool, err error) {
	lead, dropLead := first.run(ctx)
	timer := time.NewTimer(when.after)
	defer timer.Stop()
	for held := true; held; {
		select {
		case r := <-lead:
			return r.session, false, r.err
		case <-timer.C:
			if held = when.held(); held {
				timer.Reset(heldAgain)
			}
		}
	}
	chase, dropChase := second.run(ctx)
	var failed error
	for {
		select {
		case r := <-lead:
			if r.err == nil || chase == nil {
				dropChase()
				return r.session, false, r.err
			}
			lead, failed = nil, r.err
		case r := <-chase:
			chase = nil
			switch {
			case r.err != nil && lead == nil:
				return nil, false, failed
			case r.err != nil:
				continue
			case lead == nil:
				return r.session, true, nil
			}
			s, overtaken = finish(r.session, lead, dropLead)
			return s, overtaken, nil
		}
	}
}

// finish gives the first dial a little more time after the second one has its session, and returns the session that counts.
func finish(second transport.Session, lead <-chan opened, dropLead func()) (s transport.Session, overtaken bool) {
	timer := time.NewTimer(overtakeAfter)
	defer timer.Stop()
	select {
	case l := <-lead:
		if l.err == nil {
			_ = second.CloseWithError(transport.NoError, "") // nothing uses it
			return l.session, false
		}
	case <-timer.C:
		dropLead()
	}
	return second, true
}
