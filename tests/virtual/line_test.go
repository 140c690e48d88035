package virtual

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/alicebob/miniredis/v2"
)

// errUnplugged is what a process gets that tries to reach the store over a cut line.
var errUnplugged = errors.New("line to the store is cut")

// line is the way of one process to the store.
type line struct {
	server *miniredis.Miniredis

	mu    sync.Mutex
	cut   bool
	mute  bool
	conns map[*wire]struct{}
}

// dial makes a connection to the store.
func (l *line) dial(context.Context) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errUnplugged
	}
	conn, err := l.server.Dial()
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, line: l}
	l.conns[w] = struct{}{}
	return w, nil
}

// setCut ends all connections, and refuses new ones until it is called with false.
func (l *line) setCut(cut bool) {
	l.mu.Lock()
	l.cut = cut
	conns := l.conns
	l.conns = map[*wire]struct{}{}
	l.mu.Unlock()
	if cut {
		for w := range conns {
			_ = w.Close()
		}
	}
}

// setMute loses all requests until it is called with false, so that calls wait for their time-outs.
func (l *line) setMute(mute bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mute = mute
}

// wire is one connection of a line.
type wire struct {
	net.Conn
	line *line
}

func (w *wire) Write(b []byte) (int, error) {
	w.line.mu.Lock()
	mute := w.line.mute
	w.line.mu.Unlock()
	if mute {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

func (w *wire) Close() error {
	w.line.mu.Lock()
	delete(w.line.conns, w)
	w.line.mu.Unlock()
	return w.Conn.Close()
}
