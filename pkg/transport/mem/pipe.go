package mem

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

var errWriteClosed = errors.New("write after CloseWrite")

// pipe is one direction of a stream: a bounded buffer that can be ended.
type pipe struct {
	// onFirst is called once, when the peer must see the stream; onStop is called when the reader stops the writer.
	onFirst func()
	onStop  context.CancelCauseFunc
	first   sync.Once

	readBound, writeBound bound

	// mu guards the rest.
	mu       sync.Mutex
	buf      []byte
	fin      bool
	readErr  error
	writeErr error
	// changed is closed and replaced at every change.
	changed chan struct{}
}

func newPipe() *pipe {
	return &pipe{
		onFirst:    func() {},
		changed:    make(chan struct{}),
		readBound:  bound{changed: make(chan struct{})},
		writeBound: bound{changed: make(chan struct{})},
	}
}

func (p *pipe) announceLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		n, err, ready := p.takeLocked(b)
		changed := p.changed
		p.mu.Unlock()
		if ready {
			return n, err
		}
		if err := p.readBound.wait(changed); err != nil {
			return 0, err
		}
	}
}

func (p *pipe) takeLocked(b []byte) (n int, err error, ready bool) {
	switch {
	case p.readErr != nil:
		return 0, p.readErr, true
	case len(b) == 0:
		return 0, nil, true
	case len(p.buf) > 0:
		n = copy(b, p.buf)
		p.buf = p.buf[n:]
		if len(p.buf) == 0 {
			p.buf = nil
			if p.fin {
				err = io.EOF // together with the last bytes, as QUIC does
			}
		}
		p.announceLocked()
		return n, err, true
	case p.fin:
		return 0, io.EOF, true
	default:
		return 0, nil, false
	}
}

func (p *pipe) write(b []byte) (int, error) {
	p.first.Do(p.onFirst)
	done := 0
	for {
		p.mu.Lock()
		err := p.writeErr
		if err == nil && p.fin {
			err = errWriteClosed
		}
		if err != nil {
			p.mu.Unlock()
			return done, err
		}
		n := min(len(b)-done, streamBuffer-len(p.buf))
		if n > 0 {
			p.buf = append(p.buf, b[done:done+n]...)
			done += n
			p.announceLocked()
		}
		changed := p.changed
		p.mu.Unlock()
		if done == len(b) {
			return done, nil
		}
		if err := p.writeBound.wait(changed); err != nil {
			return done, err
		}
	}
}

func (p *pipe) closeWrite() error {
	p.first.Do(p.onFirst)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fin {
		return nil
	}
	if p.writeErr != nil {
		return p.writeErr
	}
	p.fin = true
	p.announceLocked()
	return nil
}

// fail resets the direction, unless all of it was delivered or it failed before. Unread bytes are lost.
func (p *pipe) fail(readErr, writeErr error) {
	p.first.Do(p.onFirst)
	p.mu.Lock()
	if p.readErr != nil || (p.fin && len(p.buf) == 0) {
		p.mu.Unlock()
		return
	}
	p.readErr, p.writeErr = readErr, writeErr
	p.buf = nil
	p.announceLocked()
	p.mu.Unlock()
	if p.onStop != nil {
		p.onStop(writeErr)
	}
}

// bound is a deadline that can be moved during a wait.
type bound struct {
	// mu guards the rest.
	mu      sync.Mutex
	at      time.Time
	changed chan struct{}
}

func (b *bound) set(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = t
	close(b.changed)
	b.changed = make(chan struct{})
}

// wait returns nil when ready was closed or the deadline was moved.
func (b *bound) wait(ready <-chan struct{}) error {
	b.mu.Lock()
	at, changed := b.at, b.changed
	b.mu.Unlock()
	var expired <-chan time.Time
	if !at.IsZero() {
		left := time.Until(at)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-ready:
		return nil
	case <-changed:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	}
}
