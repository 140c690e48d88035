package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// dual reports whether the edges of a test support both protocols. UDP to such edges is blocked until openUDP.
func dual(t *testing.T) bool {
	t.Helper()
	return strings.HasPrefix(t.Name(), "TestFallback")
}

// door is one edge address: TCP is always open, UDP is either served or dropped.
type door struct {
	addr   netip.AddrPort
	tcp    *h2.Listener
	quic   *quic.Listener
	hole   *net.UDPConn
	served chan struct{} // closed when the accept loop of quic has ended
}

// addDoor opens an edge that is reachable over TCP only.
func (n *network) addDoor(ctx context.Context, cert tls.Certificate) netip.AddrPort {
	n.t.Helper()
	l, h := listenBoth(n.t, cert, true)
	_ = l.Close() // what comes to its port is dropped until openUDP
	d := &door{addr: h.Addr(), tcp: h}
	n.cert = cert
	n.doors = append(n.doors, d)
	d.drop(n)
	n.wg.Go(func() { accept(ctx, n, d.addr, h.Accept) })
	return d.addr
}

// drop binds the door's UDP port and reads nothing from it.
func (d *door) drop(n *network) {
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
		l := listenQUIC(n.t, d.addr, n.cert)
		d.quic, d.served = l, make(chan struct{})
		n.wg.Go(func() {
			defer close(d.served)
			accept(context.Background(), n, d.addr, l.Accept)
		})
	}
}

// blockUDP drops all UDP at every door, so that QUIC sessions time out.
func (n *network) blockUDP() {
	n.t.Helper()
	for _, d := range n.doors {
		if d.quic != nil {
			_ = d.quic.Close()
			<-d.served
			d.quic = nil
			d.drop(n)
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

// While UDP is blocked, index 0 falls back to HTTP/2 first and the other slots start with HTTP/2. When UDP works again,
// every slot returns to QUIC, one after another, and each connects before it leaves its old connection.
func TestFallbackAndReturn(t *testing.T) {
	c := newCluster(t, 6)
	c.supervisor()
	c.worker("w1")
	c.eventually("all slots over http2", func() bool { return c.over()[tunnel.HTTP2] == 4 })
	c.steady(4)
	if n := c.log.count("falling back to another protocol"); n != 1 {
		t.Errorf("the fallback was logged %d times", n)
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
		t.Errorf("the return was logged %d times", n)
	}
	for _, conn := range c.net.unrelieved() {
		t.Errorf("index %d epoch %d left before another was there", conn.index, conn.epoch)
	}
}

// When UDP is blocked later and the store is unavailable, each slot falls back after its own failures.
func TestFallbackWithoutStore(t *testing.T) {
	testkit.Long(t, "QUIC sessions time out and every slot fails three dials before it falls back")
	c := newCluster(t, 6)
	c.net.openUDP()
	s := c.supervisor()
	w := c.worker("w1")
	c.eventually("all slots over quic", func() bool { return c.over()[tunnel.QUIC] == 4 })
	c.steady(4)
	s.cable.cut.Store(true)
	w.cable.cut.Store(true)
	c.eventually("both have logged that the store is unavailable", func() bool { return c.log.count("control plane is unavailable") == 2 })
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
	// The sessions time out, then at least three dials of each slot do.
	testkit.Retry(t, "all indices over http2", 2*testkit.Patience, func() error {
		if n := c.net.indices(); n != 4 {
			return fmt.Errorf("%d indices", n)
		}
		return nil
	})
	c.requests()
	if n := c.net.tried() - attempts; n > 8 {
		t.Errorf("%d registrations for four slots", n)
	}
}

// A worker whose settings demand HTTP/2 uses it although QUIC works, and its grants say so.
func TestFallbackRespectsDemandedProtocol(t *testing.T) {
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
