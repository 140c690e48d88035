package udp

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

func TestConfirmation(t *testing.T) {
	const tick = 100 * time.Millisecond
	var c confirmation
	var heard int64 = 1
	var due []time.Duration
	for now := int64(1); now < int64(100*time.Second); now += int64(tick) {
		if now == int64(70*time.Second)+1 {
			heard = now
		}
		if c.isDue(heard, now) {
			due = append(due, time.Duration(now-1))
		}
	}
	want := []time.Duration{1, 3, 7, 15, 31, 61, 71, 73, 77, 85} // doubling, and from the start after a sign of life
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(due, want) {
		t.Errorf("due at %v, want %v", due, want)
	}
}

// TestFlowThatTheConnectorLost: the connector ends a flow by itself, and says nothing since version 3 has no message for it. The flow is
// registered again as soon as the visitor has had no response for a while.
func TestFlowThatTheConnectorLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, Default())
		one := l.connect(registry.NewTable(), 0, 1, stockV3)
		flow := l.start(0)
		if r := one.accept(); r.ID != flow.id {
			t.Fatalf("registration = %+v", r)
		}
		synctest.Wait()
		send(t, flow, "with a response")
		if got := one.payload(); got != "with a response" {
			t.Fatalf("payload = %q", got)
		}
		one.reply(flow.id, "response")
		l.wantReply("response")
		time.Sleep(confirmMin) //nolint:forbidigo // fake time
		send(t, flow, "without a response")
		if r := one.accept(); r.ID != flow.id || r.Dest != flow.dst {
			t.Errorf("registered again: %+v", r)
		}
		if got := one.payload(); got != "without a response" {
			t.Errorf("payload = %q", got)
		}
	})
}
