package keep_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestProtocol(t *testing.T) {
	for name, c := range map[string]struct {
		choice   protocol.Choice
		demanded tunnel.Protocol
		want     tunnel.Protocol
	}{
		"auto":                               {protocol.Auto, "", tunnel.QUIC},
		"the grant demands":                  {protocol.Auto, tunnel.HTTP2, tunnel.HTTP2},
		"the setting of this host overrides": {protocol.Choice("quic"), tunnel.HTTP2, tunnel.QUIC},
	} {
		l := newLab(t, func(cfg *keep.Config) { cfg.Protocol = c.choice })
		l.running()
		if p, first := l.m.Protocol(l.now, slot(0), c.demanded); p.Protocol != c.want || !first {
			t.Errorf("%s: Protocol() = %s, %v, want %s, true", name, p.Protocol, first, c.want)
		}
		if _, first := l.m.Protocol(l.now, slot(1), c.demanded); first {
			t.Errorf("%s: the second choice is called the first", name)
		}
	}
}

// TestRotate: not the address that is left, not those of other slots, not one that failed.
func TestRotate(t *testing.T) {
	l := newLab(t)
	l.running(record(0, me, 5, addr(0, 0)), record(1, "w2", 6, addr(0, 1)))
	l.views[1] = connected(5, addr(0, 0))
	if got := l.m.Rotate(l.now, slot(0), addr(0, 0)); got != addr(1, 0) {
		t.Errorf("Rotate() = %v, want the first of the other region", got)
	}
	l.m.Dialed(l.now, addr(1, 0), tunnel.ReasonDial)
	if got := l.m.Rotate(l.now, slot(0), addr(0, 0)); got != addr(1, 1) {
		t.Errorf("Rotate() after a failed dial = %v, want another address", got)
	}
	l.m.Dialed(l.now, addr(1, 0), tunnel.ReasonNone)
	if got := l.m.Rotate(l.now, slot(0), addr(0, 0)); got != addr(1, 0) {
		t.Errorf("Rotate() after a dial that worked = %v, want the first of the other region", got)
	}
	// The address that a holder uses counts more than the one in the record.
	l.renew(record(0, me, 5, addr(0, 0)), record(1, me, 7, addr(0, 1)))
	l.views[2] = connected(7, addr(1, 0))
	if got := l.m.Rotate(l.now, slot(0), addr(0, 0)); got != addr(0, 1) && got != addr(1, 1) {
		t.Errorf("Rotate() beside a holder on %v = %v", addr(1, 0), got)
	}
	empty := newLab(t)
	if got := empty.m.Rotate(start, slot(0), addr(0, 0)); !got.IsZero() {
		t.Errorf("Rotate() without a pool = %v, want none", got)
	}
}

func TestPoolForgetsHealthOfOthers(t *testing.T) {
	l := newLab(t)
	l.running()
	l.m.Dialed(l.now, addr(1, 0), tunnel.ReasonDial)
	for l.step(keep.Timer{}) != "call pool main" {
		l.step(keep.Woken{})
		l.after(2 * time.Second)
		if got := l.step(keep.Timer{}); strings.HasPrefix(got, "call renew") {
			l.step(keep.Renewed{})
		} else if got == "call pool main" {
			break
		}
	}
	l.step(keep.PoolRead{Pool: pool(1)})
	l.step(keep.Renewed{})
	if got := l.m.Rotate(l.now, slot(0), addr(0, 0)); got != addr(0, 0) {
		t.Errorf("Rotate() in a pool of one address = %v, want that one", got)
	}
}

// fall makes a slot fall back, and returns the actions of the last failure.
func fall(t *testing.T, l *lab, index tunnel.ConnIndex) string {
	t.Helper()
	p, _ := l.m.Protocol(l.now, slot(index), "")
	if p.Protocol != tunnel.QUIC {
		t.Fatalf("slot %d begins with %s", index, p.Protocol)
	}
	fell, actions := l.m.Observe(l.now, slot(index), hold.Attempt{Number: 1, Edge: addr(0, 0), Protocol: p.Protocol}, protocol.Blocked)
	if !fell {
		t.Fatalf("slot %d did not fall back", index)
	}
	var words []string
	for _, a := range actions {
		words = append(words, describe(a))
	}
	return strings.Join(words, "; ")
}

func TestFallbackAndReturn(t *testing.T) {
	l := newLab(t)
	l.running(record(0, me, 5, addr(0, 0)), record(1, me, 6, addr(1, 0)))
	l.m.Dialed(l.now, addr(0, 0), tunnel.ReasonDial)
	if got := l.m.Rotate(l.now, slot(0), addr(1, 0)); got != addr(0, 1) {
		t.Errorf("Rotate() before the fallback = %v, want the address that works", got)
	}
	if got := fall(t, l, 0); got != "turned slot 0 fallback" {
		t.Errorf("fallback: %s", got)
	}
	fall(t, l, 1)
	if got := l.m.Rotate(l.now, slot(0), addr(1, 0)); got != addr(0, 0) {
		t.Errorf("Rotate() after a fallback = %v, want the health forgotten", got)
	}
	for id, v := range map[keep.HolderID]hold.View{1: connected(5, addr(0, 0)), 2: connected(6, addr(1, 0))} {
		v.Status.Protocol = tunnel.HTTP2
		l.views[id] = v
	}
	// One probe at a time, when its time has come.
	l.after(2 * time.Minute).step(keep.Timer{})
	l.want(keep.Renewed{}, "observe; hint status; probe slot 0 over quic; wake 10ms")
	l.after(2*time.Second).want(keep.Timer{}, "call renew 0@5=connected 1@6=connected")
	l.want(keep.Renewed{}, "observe; wake 10ms")
	refused := &tunnel.ConnError{Reason: tunnel.ReasonRefused, Err: errOdd}
	l.want(keep.Probed{Slot: slot(0), Edge: addr(0, 0), Err: refused}, "turned slot 0 probe_failed")
	l.after(time.Hour).step(keep.Timer{})
	l.want(keep.Renewed{}, "observe; probe slot 0 over quic; wake 10ms")
	l.want(keep.Probed{Slot: slot(0), Edge: addr(0, 0)}, "wakeall; turned slot 0 return")
	l.after(2*time.Second).want(keep.Timer{}, "call renew 0@5=connected/quic 1@6=connected/quic")
	l.want(keep.Renewed{}, "observe; hint status; wake 10ms")
}

func TestNoProbeWhileLeaving(t *testing.T) {
	l := newLab(t)
	l.running(record(0, me, 5, addr(0, 0)))
	fall(t, l, 0)
	v := connected(5, addr(0, 0))
	v.Status.Protocol = tunnel.HTTP2
	l.views[1] = v
	l.step(keep.RefuseGrants{})
	l.after(time.Hour).step(keep.Timer{})
	l.want(keep.Renewed{}, "observe; hint status; wake 10ms")
}

// TestReach: the first call that fails makes the store unavailable; it is available again after a time without a failure, which grows.
func TestReach(t *testing.T) {
	type call struct {
		after       time.Duration
		err         error
		changed, up bool
	}
	const s = time.Second
	for name, calls := range map[string][]call{
		"a store that refuses is available": {{0, nil, false, true}, {s, errOdd, false, true}},
		"an outage": {
			{0, errDown, true, false},
			{2 * s, errDown, false, false},
			{s, nil, false, false},
			{3*s - 1, nil, false, false},
			{1, errOdd, true, true},
			{s, nil, false, true},
		},
		"calls fail and succeed in turn": {
			{0, errDown, true, false},
			{2 * s, nil, false, false},
			{2 * s, errDown, false, false},
			{2 * s, nil, false, false},
			{2 * s, errDown, false, false},
			{s, nil, false, false},
			{3 * s, nil, true, true},
		},
		"it fails again soon: the time grows, to 30 s": {
			{0, errDown, true, false},
			{0, nil, false, false},
			{3 * s, nil, true, true},
			{s, errDown, true, false},
			{0, nil, false, false},
			{12*s - 1, nil, false, false},
			{1, nil, true, true},
			{s, errDown, true, false},
			{0, nil, false, false},
			{30*s - 1, nil, false, false},
			{1, nil, true, true},
			{s, errDown, true, false},
			{0, nil, false, false},
			{30*s - 1, nil, false, false},
			{1, nil, true, true},
		},
		"it fails again late": {
			{0, errDown, true, false},
			{0, nil, false, false},
			{3 * s, nil, true, true},
			{60 * s, errDown, true, false},
			{0, nil, false, false},
			{3 * s, nil, true, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r keep.Reach
			now := time.Unix(1e9, 0)
			for i, c := range calls {
				now = now.Add(c.after)
				if changed := r.Observe(now, c.err); changed != c.changed || r.Up() != c.up || r.Responds() != !errors.Is(c.err, errDown) {
					t.Errorf("call %d, %v: changed %v, up %v, want %v, %v", i, c.err, changed, r.Up(), c.changed, c.up)
				}
			}
		})
	}
}
