package keep_test

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func lazy(c *keep.Config) { c.Instance, c.Lazy = "a", true }

// TestLazy: a lazy keeper asks the store nothing before there is news, takes up what it is granted, and sleeps again when it has no slot.
func TestLazy(t *testing.T) {
	l := newLab(t, lazy)
	if err := l.m.Ready(); err == nil {
		t.Error("ready before the start")
	}
	l.want(keep.Started{}, "wake 29h59m59.999999999s")
	for range 3 {
		l.after(time.Hour).want(keep.Looked{Sent: l.now}, "")
		l.want(keep.Looked{Lost: true}, "")
	}
	if err := l.m.Ready(); err != nil || !l.m.Asleep() {
		t.Errorf("asleep: %v, ready: %v", l.m.Asleep(), err)
	}
	l.want(keep.Looked{News: true}, "call connector 0")
	l.want(keep.Identified{Connector: connector}, "observe; named 9; call pool main")
	l.want(keep.PoolRead{Pool: pool(2, 2)}, "observe; call renew")
	r := of(record(0, me, 5, addr(0, 0)), "a")
	l.step(keep.Renewed{Table: lease.Table{Records: []lease.Record{r}}})
	if l.m.Asleep() || l.m.Count() != 1 {
		t.Errorf("with a grant: asleep %v, %d holders", l.m.Asleep(), l.m.Count())
	}
	l.step(keep.HolderEnded{Holder: 1})
	l.step(keep.Released{Holder: 1})
	l.after(time.Second).step(keep.Timer{})
	l.step(keep.Woken{})
	r.Worker, r.Status.State = "other", lease.StateConnected
	l.step(keep.Renewed{Table: lease.Table{Records: []lease.Record{r}}})
	l.after(10*time.Millisecond).want(keep.Timer{}, "wake 29h59m59.989999999s")
	if err := l.m.Ready(); err != nil || !l.m.Asleep() {
		t.Errorf("after the slot moved: asleep: %v, ready: %v", l.m.Asleep(), err)
	}
}

// TestLazyWithoutConnector: news of a tunnel whose connector id the store has lost meanwhile lead to nothing: whoever has sessions gives it
// back, and a store that does not respond is asked again.
func TestLazyWithoutConnector(t *testing.T) {
	l := newLab(t, lazy)
	l.step(keep.Started{})
	l.want(keep.Looked{News: true}, "call connector 0")
	l.want(keep.Identified{Err: tunnel.ErrNotFound}, "wake 29h59m59.999999999s")
	l.want(keep.Looked{News: true}, "call connector 0")
	l.want(keep.Identified{Err: errDown}, "observe error; wake 199.999999ms")
	l.after(200*time.Millisecond).want(keep.Timer{}, "call connector 0")
}
