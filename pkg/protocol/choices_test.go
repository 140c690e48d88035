package protocol_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// host drives the choices of one host by hand.
type host struct {
	t   *testing.T
	c   *protocol.Choices
	now time.Time
	sel protocol.Selection
}

func newHost(t *testing.T) *host {
	t.Helper()
	half := func(n int64) int64 { return n / 2 }
	return &host{t: t, c: protocol.NewChoices(half, protocol.ProbeFirst), now: start, sel: both}
}

func slot(i int) tunnel.Slot { return tunnel.Slot{Index: tunnel.ConnIndex(i)} }

func (h *host) next(i int, want tunnel.Protocol) {
	h.t.Helper()
	if got := h.c.Next(h.now, slot(i), h.sel).Protocol; got != want {
		h.t.Fatalf("slot %d dials %s, want %s", i, got, want)
	}
}

func (h *host) report(i int, p tunnel.Protocol, e protocol.Event, a netip.AddrPort) protocol.Change {
	h.t.Helper()
	c, err := h.c.Report(h.now, slot(i), p, e, a)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// fallen is a host whose slots 0 and 1 are connected over the fallback.
func fallen(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	for i, a := range []netip.AddrPort{a1, a2, a1} {
		h.next(0, tunnel.QUIC)
		c := h.report(0, tunnel.QUIC, protocol.DialFailed, a)
		if fell := c.Turn == protocol.FellBack; fell != (i == 2) {
			t.Fatalf("after %d failures: %+v", i+1, c)
		}
		if i == 2 &&
			(!c.First || c.From != tunnel.QUIC || c.To != tunnel.HTTP2 || c.Failures != 3 ||
				c.ProbeAt.Sub(h.now) != 5*time.Minute+37500*time.Millisecond) {
			t.Errorf("the fall: %+v", c)
		}
	}
	h.next(0, tunnel.HTTP2)
	h.next(1, tunnel.QUIC) // nothing is proven yet
	h.report(0, tunnel.HTTP2, protocol.Connected, a1)
	h.next(1, tunnel.QUIC) // it has a way of its own by now
	h.next(2, tunnel.HTTP2)
	if c := h.report(1, tunnel.QUIC, protocol.Blocked, a2); c.Turn != protocol.FellBack || c.First {
		t.Errorf("the second fall: %+v", c)
	}
	h.report(1, tunnel.HTTP2, protocol.Connected, a2)
	h.report(2, tunnel.HTTP2, protocol.Connected, a2)
	return h
}

// TestChoicesCountTogether: slots whose dials fail fall back by the failures of all, but only while none shows that the protocol works.
func TestChoicesCountTogether(t *testing.T) {
	h := newHost(t)
	fails := func(i int, a netip.AddrPort, want protocol.Turn) {
		t.Helper()
		h.next(i, tunnel.QUIC)
		if c := h.report(i, tunnel.QUIC, protocol.DialFailed, a); c.Turn != want {
			t.Errorf("slot %d: %+v, want %v", i, c, want)
		}
	}
	for i, a := range []netip.AddrPort{a1, a2, a1, a2} {
		h.next(i, tunnel.QUIC)
		h.report(i, tunnel.QUIC, protocol.Connected, a)
	}
	for i := range 3 { // these lost their edge, and slot 3 is connected
		h.report(i, tunnel.QUIC, protocol.Lost, netip.AddrPort{})
		fails(i, a1, protocol.Unchanged)
		fails(i, a2, protocol.Unchanged)
	}
	h.report(3, tunnel.QUIC, protocol.Lost, netip.AddrPort{})
	h.next(0, tunnel.QUIC)
	h.report(0, tunnel.QUIC, protocol.Connected, a1) // all is well again
	h.report(0, tunnel.QUIC, protocol.Lost, netip.AddrPort{})

	fails(3, a1, protocol.Unchanged)
	fails(4, a1, protocol.Unchanged)
	fails(5, a2, protocol.FellBack) // three failures on two addresses, of three slots
	fails(3, a2, protocol.FellBack)
	fails(6, a1, protocol.FellBack)
	h.next(4, tunnel.QUIC)
	h.report(4, tunnel.QUIC, protocol.Connected, a1) // it works after all
	fails(7, a1, protocol.Unchanged)
}

// TestChoicesEdgeRestarts: all sessions of a host end, and all dials are refused for 8 s. Nothing falls back.
func TestChoicesEdgeRestarts(t *testing.T) {
	h := newHost(t)
	for i, a := range []netip.AddrPort{a1, a2, a1, a2} {
		h.next(i, tunnel.QUIC)
		h.report(i, tunnel.QUIC, protocol.Connected, a)
	}
	for i := range 4 {
		h.report(i, tunnel.QUIC, protocol.Lost, netip.AddrPort{})
	}
	for range 8 {
		for i := range 4 {
			for _, a := range []netip.AddrPort{a1, a2} {
				h.next(i, tunnel.QUIC)
				if c := h.report(i, tunnel.QUIC, protocol.Refused, a); c.Turn != protocol.Unchanged {
					t.Fatalf("slot %d: %+v", i, c)
				}
			}
		}
		h.now = h.now.Add(time.Second)
	}
}

func TestChoicesReturn(t *testing.T) {
	h := fallen(t)
	if _, due := h.c.ProbeDue(h.now, slot(0)); due {
		t.Fatal("the probe is early")
	}
	h.now = h.now.Add(7 * time.Minute)
	if p, due := h.c.ProbeDue(h.now, slot(1)); !due || p != tunnel.QUIC {
		t.Fatalf("probe of slot 1: %v over %s", due, p)
	}
	if _, due := h.c.ProbeDue(h.now, slot(0)); due {
		t.Error("two probes at once")
	}
	c, err := h.c.Probed(h.now, slot(1), protocol.Connected)
	if err != nil || c.Turn != protocol.Returned || c.From != tunnel.HTTP2 || c.To != tunnel.QUIC {
		t.Errorf("probed: %+v, %v", c, err)
	}
	for i := range 5 { // slots 3 and 4 are new here
		if p := h.c.Prefers(h.now, slot(i), h.sel); p != tunnel.QUIC {
			t.Errorf("slot %d prefers %s", i, p)
		}
	}
	// What the old connection says does not count any more.
	if c := h.report(0, tunnel.HTTP2, protocol.DialFailed, a1); c.Turn != protocol.Unchanged {
		t.Errorf("a late failure: %+v", c)
	}
	h.next(0, tunnel.QUIC)
}

func TestChoicesProbeFails(t *testing.T) {
	h := fallen(t)
	h.now = h.now.Add(7 * time.Minute)
	if _, due := h.c.ProbeDue(h.now, slot(0)); !due {
		t.Fatal("no probe")
	}
	c, err := h.c.Probed(h.now, slot(0), protocol.DialFailed)
	if err != nil || c.Turn != protocol.ProbeFailed || c.ProbeAt.Sub(h.now) != 10*time.Minute+75*time.Second {
		t.Errorf("probed: %+v, %v", c, err)
	}
	for i := range 3 { // one probe counts for all
		if _, due := h.c.ProbeDue(h.now.Add(10*time.Minute), slot(i)); due {
			t.Errorf("slot %d probes again", i)
		}
	}
	h.next(5, tunnel.HTTP2)
}

// A slot that lost its connection when a probe is due comes up over what worked last. When that does not work any more
// it tries the preferred protocol itself.
func TestChoicesAttemptIsTheProbe(t *testing.T) {
	h := fallen(t)
	h.now = h.now.Add(7 * time.Minute)
	for range protocol.FallbackFailures {
		h.next(0, tunnel.HTTP2)
		h.report(0, tunnel.HTTP2, protocol.DialFailed, a1)
	}
	h.next(0, tunnel.QUIC)
	if c := h.report(0, tunnel.QUIC, protocol.Connected, a1); c.Turn != protocol.Returned {
		t.Errorf("connected: %+v", c)
	}
	if p := h.c.Prefers(h.now, slot(1), h.sel); p != tunnel.QUIC {
		t.Errorf("slot 1 prefers %s", p)
	}
}

func TestChoicesFollowTheSelection(t *testing.T) {
	h := fallen(t)
	h.sel = protocol.Selection{Preferred: tunnel.HTTP2}
	h.next(0, tunnel.HTTP2)
	if _, due := h.c.ProbeDue(h.now.Add(time.Hour), slot(0)); due {
		t.Error("a probe without a fallback")
	}
	h.sel = protocol.Selection{Preferred: tunnel.QUIC}
	h.next(0, tunnel.QUIC)
	for range 10 {
		h.report(0, tunnel.QUIC, protocol.Blocked, a1)
	}
	h.next(0, tunnel.QUIC)
	// A probe whose slot went its own way meanwhile changes nothing.
	if c, err := h.c.Probed(h.now, slot(0), protocol.Connected); err != nil || c.Turn != protocol.Unchanged {
		t.Errorf("probed: %+v, %v", c, err)
	}
	if _, err := h.c.Report(h.now, slot(0), tunnel.QUIC, protocol.Event(9), a1); err == nil {
		t.Error("an unknown event is taken")
	}
}

// TestSecondDial: a dial over the preferred protocol gets company as soon as no slot of the host is connected over it, and sooner once it
// was overtaken; the slot that overtook it falls back at once, and the others only by what they find out.
func TestSecondDial(t *testing.T) {
	h := newHost(t)
	beside := func(i int, want time.Duration) {
		t.Helper()
		got := h.c.Next(h.now, slot(i), h.sel)
		if got.Held {
			t.Fatalf("slot %d: %+v, which is held", i, got)
		}
		if want == 0 && got.Beside != "" || want > 0 && (got.Beside != tunnel.HTTP2 || got.After != want) {
			t.Fatalf("slot %d: %+v, want a second dial after %v", i, got, want)
		}
	}
	beside(0, time.Second)
	h.report(0, tunnel.QUIC, protocol.Connected, netip.AddrPort{})
	if got := h.c.Next(h.now, slot(1), h.sel); got.Beside != tunnel.HTTP2 || got.After != time.Second || !got.Held {
		t.Fatalf("%+v beside a slot that is connected, want a second dial that is held", got)
	}
	h.report(0, tunnel.QUIC, protocol.Lost, netip.AddrPort{}) // while slot 1 dials
	beside(1, time.Second)
	if c := h.report(0, tunnel.QUIC, protocol.Overtaken, netip.AddrPort{}); c.Turn != protocol.FellBack || !c.First {
		t.Errorf("%+v, want a fall", c)
	}
	h.next(0, tunnel.HTTP2)
	beside(0, 0)
	h.next(1, tunnel.QUIC)
	beside(1, 250*time.Millisecond)
	h.report(1, tunnel.QUIC, protocol.Connected, netip.AddrPort{})
	h.report(1, tunnel.QUIC, protocol.Lost, netip.AddrPort{})
	beside(1, time.Second)
}
