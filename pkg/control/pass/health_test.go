package pass

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestHealthOfAddresses(t *testing.T) {
	now := time.Unix(1000, 0)
	dead, fine := netip.MustParseAddrPort("192.0.2.1:7844"), netip.MustParseAddrPort("192.0.2.2:7844")
	var h health
	observe := func(worker tunnel.WorkerID, epoch tunnel.Epoch, at netip.AddrPort, s lease.Status) map[string]edgepool.Health {
		t.Helper()
		r := lease.Record{Grant: lease.Grant{Worker: worker, Epoch: epoch, Edge: tunnel.EdgeAddr{Addr: at}}, Live: true, Status: s}
		w := plan.World{
			Workers:    []fleet.Worker{{ID: "w1", Host: "a"}, {ID: "w2", Host: "b"}},
			Connectors: []plan.Connector{{Records: []lease.Record{r}}},
		}
		h.observe(&w, now)
		if !w.Now.Equal(now) {
			t.Errorf("the world is of %v, want %v", w.Now, now)
		}
		return w.Health
	}
	failed := lease.Status{State: lease.StateFailed, Reason: tunnel.ReasonDial, Retries: 1}
	for range 3 { // the same attempt, read again
		if got := observe("w1", 1, dead, failed); got["a"][dead].Failures != 1 || len(got["b"]) != 0 {
			t.Fatalf("after one failure on host a: %+v", got)
		}
	}
	again := failed
	again.Retries = 2
	if got := observe("w1", 1, dead, again); got["a"][dead].Failures != 2 || !got["a"].Held(dead, now.Add(30*time.Second)) {
		t.Errorf("after two failures: %+v", got)
	}
	refused := lease.Status{State: lease.StateFailed, Reason: tunnel.ReasonRefused, Retries: 3}
	if got := observe("w1", 2, fine, refused); got["a"].Held(fine, now) {
		t.Errorf("a refusal is held against the address: %+v", got)
	}
	if got := observe("w1", 3, dead, lease.Status{State: lease.StateConnected}); len(got["a"]) != 0 {
		t.Errorf("after a success: %+v", got)
	}
	observe("w2", 4, dead, failed)
	observe("w9", 5, dead, failed) // of a worker that is not registered
	if got := h.hosts; len(got) != 2 || got["b"][dead].Failures != 1 {
		t.Errorf("hosts: %+v", got)
	}
}
