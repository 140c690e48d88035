package keeper

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// askedStore tells of each tunnel whose connector id is asked for. It has no slot.
type askedStore struct {
	Store
	asked chan tunnel.ID
}

func (s *askedStore) EnsureConnector(_ context.Context, id tunnel.ID, _ tunnel.ConnectorID) (tunnel.ConnectorID, error) {
	s.asked <- id
	return tunnel.ConnectorID{1}, nil
}

func (*askedStore) Pool(context.Context, string) (edgepool.Pool, error) {
	return edgepool.Pool{}, tunnel.ErrNotFound
}

func (*askedStore) Report(
	context.Context, tunnel.ID, tunnel.ConnectorID, tunnel.WorkerID, string, []lease.Report,
) (lease.Table, error) {
	return lease.Table{}, nil
}

func (*askedStore) Subscribe(context.Context, string, func([]byte)) {}

// TestManyTunnels: a worker with many tunnels asks the store only about tunnels that it was granted slots of. A worker with few tunnels
// asks about all of them.
func TestManyTunnels(t *testing.T) {
	run := func(tunnels int) (*Set, *askedStore) {
		var creds []Credentials
		for n := range tunnels {
			creds = append(creds, Credentials{Credentials: tunnel.Credentials{TunnelID: tunnel.ID{byte(n)}}})
		}
		store := &askedStore{asked: make(chan tunnel.ID, tunnels)}
		s := New(Config{Worker: "worker-1", Instance: "a", Protocol: protocol.Auto, ReturnAfter: time.Hour}, Deps{
			Store: store, Control: quiet{}, Logger: slog.New(slog.DiscardHandler), HolderGone: func() {},
		}, creds)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx)
		}()
		t.Cleanup(func() {
			cancel()
			testkit.Receive(t, "the end of the keepers", done)
		})
		return s, store
	}

	s, store := run(eagerMost + 1)
	testkit.Eventually(t, "a worker that serves nothing yet is ready", func() bool { return s.Ready() == nil })
	s.Look()
	told := tunnel.ID{7}
	s.Looked(keep.Looked{}, []tunnel.ID{told})
	if id := testkit.Receive(t, "a question", store.asked); id != told {
		t.Errorf("asked about %v, want %v", id, told)
	}
	testkit.Eventually(t, "no keeper that waits for news hangs", func() bool { return s.Alive(time.Now().Add(time.Hour)) == nil })
	if n := len(store.asked); n != 0 {
		t.Errorf("asked about %d more tunnels", n)
	}

	_, store = run(eagerMost)
	for range eagerMost {
		testkit.Receive(t, "a question about each tunnel", store.asked)
	}
}
