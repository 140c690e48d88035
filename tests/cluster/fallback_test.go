package cluster

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// dual says that a test's edges speak both protocols, and that UDP to them can be blocked; it is at first.
func dual(t *testing.T) bool {
	t.Helper()
	return strings.HasPrefix(t.Name(), "TestFallback")
}

// door is one edge address: TCP is always open, UDP is either served or swallowed.
type door struct {
	addr   netip.AddrPort
	tcp    *h2.Listener
	quic   *quic.Listener
	hole   *net.UDPConn
	served chan struct{} // closed when nothing accepts from quic any more
}

// addDoor opens an edge over TCP only.
func (n *network) addDoor(ctx context.Context, cert tls.Certificate) netip.AddrPort {
	n.t.Helper()
	l, h := listenBoth(n.t, cert, true)
	_ = l.Close() // its port is swallowed until openUDP
	d := &door{addr: h.Addr(), tcp: h}
	n.cert = cert
	n.doors = append(n.doors, d)
	d.swallow(n)
	n.wg.Go(func() { accept(ctx, n, d.addr, h.Accept) })
	return d.addr
}

func (d *door) swallow(n *network) {
	n.t.Helper()
	hole, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(d.addr))
	if err != nil {
		n.t.Fatal(err)
	}
	d.hole = hole
}

// openUDP serves QUIC at every door.
func (n *network) openUDP() {
	n.t.Helper()
	for _, d := range n.doors {
		_ = d.hole.Close()
		d.hole = nil
		l, err := quic.Listen(quic.ListenConfig{
			Addr:     d.addr,
			TLS:      &tls.Config{Certificates: []tls.Certificate{n.cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{quic.ALPN}},
			Settings: quic.EdgeSettings(),
		})
		if err != nil {
			n.t.Fatal(err)
		}
		d.quic, d.served = l, make(chan struct{})
		n.wg.Go(func() {
			defer close(d.served)
			accept(context.Background(), n, d.addr, l.Accept)
		})
	}
}

// blockUDP swallows everything at every door; sessions end without a word.
func (n *network) blockUDP() {
	n.t.Helper()
	for _, d := range n.doors {
		if d.quic != nil {
			_ = d.quic.Close()
			<-d.served
			d.quic = nil
			d.swallow(n)
		}
	}
}

// closeDoors ends the sockets of all doors.
func (n *network) closeDoors() {
	for _, d := range n.doors {
		_ = d.tcp.Close()
		if d.hole != nil {
			_ = d.hole.Close()
		}
		if d.quic != nil {
			_ = d.quic.Close()
		}
	}
}

// over counts the connected slots by protocol.
func (c *cluster) over() map[tunnel.Protocol]int {
	m := map[tunnel.Protocol]int{}
	for _, r := range c.records() {
		if r.Live && r.Status.State == lease.StateConnected {
			m[r.Status.Protocol]++
		}
	}
	return m
}

// Where UDP is blocked from the start, index 0 comes up over HTTP/2 before the gate opens, and the others begin there.
// When UDP works again all return, one after another, each before it leaves its old connection.
func TestFallbackAndReturn(t *testing.T) {
	c := newCluster(t, 6)
	c.supervisor()
	c.worker("w1")
	c.eventually("all slots over http2", func() bool { return c.over()[tunnel.HTTP2] == 4 })
	c.steady(4)
	if n := c.log.count("falling back to another protocol"); n != 1 {
		t.Errorf("the fall was told %d times", n)
	}
	for _, conn := range c.net.all() {
		if _, ok := conn.session.(*h2.Session); !ok {
			t.Errorf("index %d came over %T", conn.index, conn.session)
		}
	}
	c.net.openUDP()
	c.eventually("all slots over quic", func() bool { return c.over()[tunnel.QUIC] == 4 })
	c.steady(4)
	if n := c.log.count("returning to the preferred protocol"); n != 1 {
		t.Errorf("the return was told %d times", n)
	}
	for _, conn := range c.net.unrelieved() {
		t.Errorf("index %d epoch %d left before another was there", conn.index, conn.epoch)
	}
}

// UDP that is blocked later, while the store is away: each slot falls back by its own failures, as it does otherwise.
func TestFallbackWithoutStore(t *testing.T) {
	c := newCluster(t, 6)
	c.net.openUDP()
	s := c.supervisor()
	w := c.worker("w1")
	c.eventually("all slots over quic", func() bool { return c.over()[tunnel.QUIC] == 4 })
	c.steady(4)
	s.cable.cut.Store(true)
	w.cable.cut.Store(true)
	c.eventually("both say so", func() bool { return c.log.count("control plane is away") == 2 })
	attempts := c.net.tried()
	c.net.blockUDP()
	c.eventually("the edges have lost all sessions", func() bool {
		for _, conn := range c.net.live() {
			if _, ok := conn.session.(*quic.Session); ok {
				return false
			}
		}
		return true
	})
	c.patience *= 2 // the sessions go silent, then at least three dials of each run into their time limit
	c.eventually("all indices over http2", func() bool { return c.net.indices() == 4 })
	c.requests()
	if n := c.net.tried() - attempts; n > 8 {
		t.Errorf("%d registrations for four slots", n)
	}
}

// A grant or a setting that demands a protocol leaves no choice.
func TestFallbackIsNotForThoseWhoDemand(t *testing.T) {
	c := newCluster(t, 6)
	c.net.openUDP()
	c.supervisor()
	c.protocol = protocol.HTTP2
	c.worker("w1")
	c.eventually("all slots over http2", func() bool { return c.over()[tunnel.HTTP2] == 4 })
	c.steady(4)
	for _, r := range c.records() {
		if r.Protocol != tunnel.HTTP2 {
			t.Errorf("slot %d was granted for %q", r.Slot.Index, r.Protocol)
		}
	}
}
