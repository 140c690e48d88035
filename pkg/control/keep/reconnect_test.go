package keep_test

import (
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
)

// TestReconnect: a command makes a connection again once, however often it is read and in whatever order, and under its epoch alone.
func TestReconnect(t *testing.T) {
	asked := func(id string, r lease.Record) lease.Record { r.Reconnect = id; return r }
	l := newLab(t)
	l.running(asked("c0", record(0, me, 5, addr(0, 0)))) // whoever starts now makes a connection anyway
	l.views[1] = connected(5, addr(0, 0))
	again := "send 1 reconnect 0"
	for i, c := range []struct {
		id   string
		want bool
	}{{"", false}, {"c0", false}, {"c1", true}, {"c1", false}, {"c2", true}, {"c1", false}, {"", false}, {"c2", false}} {
		got := l.renew(asked(c.id, record(0, me, 5, addr(0, 0))))
		if has := strings.Contains(got, again); has != c.want {
			t.Errorf("%d, command %q: %s, want a reconnect: %v", i, c.id, got, c.want)
		}
	}
	l.views[1] = view(lease.PhaseWaiting, lease.StateFailed, 5, addr(0, 0))
	if got := l.renew(asked("c3", record(0, me, 5, addr(0, 0)))); strings.Contains(got, "reconnect") {
		t.Errorf("without a connection: %s", got)
	}
	l.views[1] = connected(5, addr(0, 0))
	if got := l.renew(asked("c1", record(0, me, 6, addr(0, 0)))); !strings.Contains(got, again) {
		t.Errorf("with a new epoch: %s", got)
	}
	if got := l.renew(asked("c4", record(0, "w2", 7, addr(1, 0)))); strings.Contains(got, "reconnect") {
		t.Errorf("of another worker: %s", got)
	}
}
