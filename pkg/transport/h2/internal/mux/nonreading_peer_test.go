package mux

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// nonReader is a peer that sends the same bytes again and again, and reads none.
type nonReader struct {
	net.Conn
	start *bytes.Reader
	again func() []byte // nil is the end
	left  []byte
	once  sync.Once
	over  chan struct{}
}

func newNonReader(start []byte, again func() []byte) *nonReader {
	return &nonReader{start: bytes.NewReader(start), again: again, over: make(chan struct{})}
}

func (d *nonReader) Read(p []byte) (int, error) {
	if d.start.Len() > 0 {
		return d.start.Read(p)
	}
	if len(d.left) == 0 {
		if d.left = d.again(); d.left == nil {
			<-d.over
			return 0, io.EOF
		}
	}
	n := copy(p, d.left)
	d.left = d.left[n:]
	return n, nil
}

func (d *nonReader) Write([]byte) (int, error) {
	<-d.over
	return 0, net.ErrClosed
}

func (d *nonReader) SetReadDeadline(time.Time) error { return nil }
func (d *nonReader) SetWriteDeadline(t time.Time) error {
	d.once.Do(func() { close(d.over) })
	return nil
}
func (d *nonReader) Close() error { return d.SetWriteDeadline(time.Time{}) }

// TestPeerThatReadsNothing: the replies that a peer provokes and does not read are bounded.
func TestPeerThatReadsNothing(t *testing.T) {
	get := encoded(":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/")
	head := func(id uint32, end bool) []byte {
		return frames(func(fr *http2.Framer) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: get, EndHeaders: true, EndStream: end})
		})
	}
	frame := func(kind http2.FrameType, flags http2.Flags, id uint32, payload ...byte) []byte {
		return frames(func(fr *http2.Framer) { _ = fr.WriteRawFrame(kind, flags, id, payload) })
	}
	window := frames(func(fr *http2.Framer) {
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 7})
	})
	next := uint32(1)
	for name, c := range map[string]struct {
		first []byte
		again func() []byte
		// stays says that the bytes need no reply.
		stays bool
	}{
		"pings":    {again: func() []byte { return frame(http2.FramePing, 0, 0, make([]byte, 8)...) }},
		"settings": {again: func() []byte { return window }},
		"padding": {
			first: head(1, false), again: func() []byte { return frame(http2.FrameData, http2.FlagDataPadded, 1, 1, 0) }, stays: true,
		},
		"no increment": {first: head(1, true), again: func() []byte { return frame(http2.FrameWindowUpdate, 0, 1, 0, 0, 0, 0) }},
		"data after the end": {again: func() []byte {
			next += 2
			return append(head(next, true), frame(http2.FrameData, 0, next, 'x')...)
		}},
		"headless": {again: func() []byte {
			next += 2
			return frames(func(fr *http2.Framer) {
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: next, BlockFragment: encoded("A", "upper case"), EndHeaders: true})
			})
		}},
		"window overflow": {again: func() []byte {
			next += 2
			return append(head(next, false), frame(http2.FrameWindowUpdate, 0, next, 0x7f, 0xff, 0xff, 0xff)...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			const rounds = 200_000
			n := 0
			done := make(chan struct{})
			peer := newNonReader(append(append([]byte(http2.ClientPreface), window...), c.first...), func() []byte {
				if n++; n > rounds {
					if n == rounds+1 {
						close(done)
					}
					return nil
				}
				return c.again()
			})
			conn := New(t.Context(), peer, testConfig(Server, func(s *Stream) {
				if !c.stays {
					s.CancelWrite(http2.ErrCodeCancel)
				}
			}))
			defer conn.Close(http2.ErrCodeNo, "")
			select {
			case <-done:
			case <-conn.Context().Done():
				if c.stays {
					t.Errorf("ended: %v", context.Cause(conn.Context()))
				}
			}
			conn.mu.Lock()
			defer conn.mu.Unlock()
			if kept := cap(conn.out); kept > 4*maxControl {
				t.Errorf("%d bytes of replies are kept after %d rounds", kept, n)
			}
		})
	}
}

func TestTooManySettings(t *testing.T) {
	list := make([]http2.Setting, maxSettings+1)
	for i := range list {
		list[i] = http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}
	}
	for n, fine := range map[int]bool{maxSettings: true, maxSettings + 1: false} {
		script := append([]byte(http2.ClientPreface), frames(func(fr *http2.Framer) { _ = fr.WriteSettings(list[:n]...) })...)
		conn := New(t.Context(), &scripted{in: bytes.NewReader(script)}, testConfig(Server, nil))
		<-conn.Context().Done()
		if ended := bytes.Contains([]byte(context.Cause(conn.Context()).Error()), []byte("too many settings")); ended == fine {
			t.Errorf("%d settings: %v", n, context.Cause(conn.Context()))
		}
		conn.Close(http2.ErrCodeNo, "")
	}
}

// departed is a socket whose peer sent said and then closed it. Nothing can be read before a write has failed.
type departed struct {
	net.Conn
	said   *bytes.Reader
	end    func() (int, error)
	once   sync.Once
	failed chan struct{}
}

func (d *departed) Read(p []byte) (int, error) {
	<-d.failed
	if d.said.Len() > 0 {
		return d.said.Read(p)
	}
	return d.end()
}

func (d *departed) Write([]byte) (int, error) {
	d.once.Do(func() { close(d.failed) })
	return 0, syscall.ECONNRESET
}
func (d *departed) SetReadDeadline(time.Time) error  { return nil }
func (d *departed) SetWriteDeadline(time.Time) error { return nil }
func (d *departed) Close() error                     { return nil }

// TestLastWordsOfAPeer: a failed write does not hide why the peer closed the connection, if it said so.
func TestLastWordsOfAPeer(t *testing.T) {
	settings := frames(func(fr *http2.Framer) { _ = fr.WriteSettings() })
	bye := frames(func(fr *http2.Framer) { _ = fr.WriteGoAway(0, http2.ErrCodeNo, []byte("bye")) })
	reset := func() (int, error) { return 0, syscall.ECONNRESET }
	for name, c := range map[string]struct {
		said []byte
		end  func() (int, error)
		want string
	}{
		"goaway":  {slices.Concat(settings, bye), reset, "peer_closed: application close: bye"},
		"nothing": {settings, reset, "peer_closed: connection reset by peer"},
		// The socket stays readable for longer than the reader waits.
		"silence": {settings, func() (int, error) { return 0, os.ErrDeadlineExceeded }, "peer_closed: connection reset by peer"},
	} {
		t.Run(name, func(t *testing.T) {
			peer := &departed{said: bytes.NewReader(c.said), end: c.end, failed: make(chan struct{})}
			conn := New(t.Context(), peer, testConfig(Client, nil))
			<-conn.Context().Done()
			if got := context.Cause(conn.Context()).Error(); got != c.want {
				t.Errorf("cause = %q, want %q", got, c.want)
			}
			conn.Close(http2.ErrCodeNo, "")
		})
	}
}
