package udp_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/udp"
)

// memSocket is a socket in memory, usable in fake time: writes go nowhere, reads come from a channel.
type memSocket struct {
	in     chan []byte
	closed chan struct{}
}

func newMemSocket() *memSocket {
	return &memSocket{in: make(chan []byte), closed: make(chan struct{})}
}

func (s *memSocket) Read(p []byte) (int, error) {
	select {
	case b := <-s.in:
		return copy(p, b), nil
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

func (s *memSocket) Write(p []byte) (int, error)      { return len(p), nil }
func (s *memSocket) Close() error                     { close(s.closed); return nil }
func (s *memSocket) LocalAddr() net.Addr              { return nil }
func (s *memSocket) RemoteAddr() net.Addr             { return nil }
func (s *memSocket) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s *memSocket) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s *memSocket) SetWriteDeadline(time.Time) error { return nil }

var dest = netip.MustParseAddrPort("192.0.2.1:53")

// inFakeTime runs a test with one session's socket in memory.
func inFakeTime(t *testing.T, run func(t *testing.T, k *kit, socket *memSocket)) {
	synctest.Test(t, func(t *testing.T) {
		socket := newMemSocket()
		k := newKit(t, with(dialFunc(func(context.Context, netip.AddrPort) (net.Conn, error) { return socket, nil })),
			func(c *udp.Config, _ *udp.Deps) { c.OrphanTimeout = time.Minute })
		run(t, k, socket)
	})
}

// elapse lets fake time pass, to the last nanosecond.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestIdleTimeIsExact(t *testing.T) {
	for name, c := range map[string]struct{ hint, want time.Duration }{
		"default": {0, 210 * time.Second}, "hint": {5 * time.Second, 5 * time.Second}, "short": {time.Millisecond, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T, k *kit, _ *memSocket) {
				w := k.connect(t)
				m := register(1, dest, "")
				m.Idle = c.hint
				w.send(m)
				w.registered(1)
				elapse(c.want - 1)
				if n := k.Sessions(); n != 1 {
					t.Fatalf("%d sessions just before the idle time", n)
				}
				elapse(1)
				if n := k.Sessions(); n != 0 {
					t.Fatalf("%d sessions after the idle time", n)
				}
				w.expect(packet.Ended, datagram.ID{1}, "session idle for "+c.want.String())
			})
		})
	}
}

func TestTrafficOfEitherWayKeepsTheSession(t *testing.T) {
	inFakeTime(t, func(t *testing.T, k *kit, socket *memSocket) {
		w := k.connect(t)
		m := register(1, dest, "")
		m.Idle = 10 * time.Second
		w.send(m)
		w.registered(1)
		for range 5 {
			elapse(9 * time.Second)
			w.send(payload(1, "out"))
			elapse(9 * time.Second)
			socket.in <- []byte("in")
			w.expect(packet.Payload, datagram.ID{1}, "in")
			elapse(9 * time.Second)
			w.send(m) // registering again restarts the time as well
			w.registered(1)
		}
		elapse(10*time.Second - 1)
		if n := k.Sessions(); n != 1 {
			t.Fatalf("%d sessions, want 1", n)
		}
		elapse(1)
		w.expect(packet.Ended, datagram.ID{1}, "session idle for 10s")
	})
}

func TestOrphansEnd(t *testing.T) {
	inFakeTime(t, func(t *testing.T, k *kit, _ *memSocket) {
		w := k.connect(t)
		w.send(register(1, dest, ""))
		w.registered(1)
		elapse(10 * time.Second)
		w.crash()
		elapse(time.Minute - 1)
		if n, o := k.Sessions(), k.figure(t, "sessions_orphaned", ""); n != 1 || o != 1 {
			t.Fatalf("%d sessions and %d orphans just before the timeout", n, o)
		}
		elapse(1)
		if n, o := k.Sessions(), k.figure(t, "sessions_orphaned", ""); n != 0 || o != 0 {
			t.Fatalf("%d sessions and %d orphans after the timeout", n, o)
		}
	})
}

func TestResumedOrphanHasItsWholeTimeAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T, k *kit, socket *memSocket) {
		for range 3 {
			w := k.connect(t)
			w.send(register(1, dest, ""))
			w.registered(1)
			elapse(59 * time.Second)
			w.crash()
			elapse(59 * time.Second)
			socket.in <- []byte("kept")
		}
		w := k.connect(t)
		w.send(register(1, dest, ""))
		w.registered(1)
		w.expect(packet.Payload, datagram.ID{1}, "kept")
		elapse(210*time.Second - 1)
		if n := k.Sessions(); n != 1 {
			t.Fatalf("%d sessions, want 1", n)
		}
		elapse(1)
		w.expect(packet.Ended, datagram.ID{1}, "session idle for 3m30s")
	})
}

func TestIdleEndsAnOrphanToo(t *testing.T) {
	inFakeTime(t, func(t *testing.T, k *kit, _ *memSocket) {
		w := k.connect(t)
		m := register(1, dest, "")
		m.Idle = 5 * time.Second
		w.send(m)
		w.registered(1)
		w.crash()
		elapse(5 * time.Second)
		if n, o := k.Sessions(), k.figure(t, "sessions_orphaned", ""); n != 0 || o != 0 {
			t.Fatalf("%d sessions and %d orphans after the idle time", n, o)
		}
	})
}
