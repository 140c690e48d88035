package udp_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/udp"
)

func TestMigrationKeepsTheSocket(t *testing.T) {
	for name, end := range map[string]func(*worker){"left": (*worker).leave, "crashed": (*worker).crash, "stays": func(*worker) {}} {
		t.Run(name, func(t *testing.T) {
			k, o := newKit(t), newOrigin(t)
			first := k.connect(t)
			first.send(register(1, o.addr, "one"))
			first.registered(1)
			addr := port(first, 1, "one")
			end(first)
			second := k.connect(t)
			second.send(register(1, o.addr, "two"))
			second.registered(1)
			if got := port(second, 1, "two"); got != addr {
				t.Errorf("source is %s, was %s", got, addr)
			}
			if n := k.figure(t, "sessions_migrated_total", ""); n != 1 {
				t.Errorf("%d migrated, want 1", n)
			}
			if n := k.figure(t, "sessions_orphaned", ""); n != 0 {
				t.Errorf("%d orphans, want none", n)
			}
		})
	}
}

func TestOtherTunnelsSessionsAreOutOfReach(t *testing.T) {
	k, o := newKit(t), newOrigin(t)
	mine := k.connect(t)
	mine.send(register(1, o.addr, "one"))
	mine.registered(1)
	addr := port(mine, 1, "one")
	other := k.connectAs(t, link.Meta{Tunnel: [16]byte{9}, Connector: [16]byte{2}})
	other.send(payload(1, "stolen"), packet.Message{Type: packet.Unregister, ID: datagram.ID{1}}, register(1, o.addr, "own"))
	other.expect(packet.Unknown, datagram.ID{1}, "")
	other.registered(1)
	if got := port(other, 1, "own"); got == addr {
		t.Errorf("two tunnels share the source %s", got)
	}
	if n := k.dropped(t, "write_flow_unknown"); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	mine.send(payload(1, "two"))
	if got := port(mine, 1, "two"); got != addr {
		t.Errorf("source is %s, was %s", got, addr)
	}
}

func TestResponsesWaitForTheNextFlow(t *testing.T) {
	for name, c := range map[string]struct {
		kept   int
		limits option
	}{
		"bound of a session":   {256, func(c *udp.Config, _ *udp.Deps) { c.QueueBytes = packet.MaxSize }}, // which is less
		"bound of all of them": {20, func(c *udp.Config, _ *udp.Deps) { c.KeptBytes = 10 + 10*2 + 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			socket := newMemSocket() // a real one would lose some
			k := newKit(t, c.limits, with(dialFunc(func(context.Context, netip.AddrPort) (net.Conn, error) { return socket, nil })))
			for round := range 2 { // what was delivered gave its room back
				first := k.connect(t)
				first.send(register(1, dest, ""))
				first.registered(1)
				first.crash()
				if n := k.figure(t, "sessions_orphaned", ""); n != 1 {
					t.Fatalf("%d orphans, want 1", n)
				}
				for i := range c.kept + 6 {
					socket.in <- fmt.Append(nil, i)
				}
				testkit.Eventually(t, "the last ones to be dropped", func() bool { return k.dropped(t, "write_full") == 6*(round+1) })
				second := k.connect(t)
				second.send(register(1, dest, ""))
				second.registered(1)
				for i := range c.kept {
					second.expect(packet.Payload, datagram.ID{1}, fmt.Sprint(i))
				}
			}
		})
	}
}

func TestPayloadOfAnotherFlowAdoptsAnOrphan(t *testing.T) {
	k, o := newKit(t), newOrigin(t)
	first, second := k.connect(t), k.connect(t)
	first.send(register(1, o.addr, "one"))
	first.registered(1)
	addr := port(first, 1, "one")
	second.send(payload(1, "two")) // lookup is by id alone, the way back stays
	if got := port(first, 1, "two"); got != addr {
		t.Errorf("source is %s, was %s", got, addr)
	}
	first.crash()
	second.send(payload(1, "three"))
	if got := port(second, 1, "three"); got != addr {
		t.Errorf("source is %s, was %s", got, addr)
	}
}

func TestAnotherDestinationReplacesTheSession(t *testing.T) {
	k, one, two := newKit(t), newOrigin(t), newOrigin(t)
	w := k.connect(t)
	w.send(register(1, one.addr, "one"))
	w.registered(1)
	addr := port(w, 1, "one")
	w.send(register(1, two.addr, "two"))
	w.registered(1)
	if got := port(w, 1, "two"); got == addr {
		t.Errorf("source is still %s", got)
	}
	if n := k.Sessions(); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}
