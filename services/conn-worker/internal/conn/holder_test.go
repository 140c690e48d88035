package conn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a host whose dials reach an edge in memory.
type lab struct {
	t     *testing.T
	wg    sync.WaitGroup
	alone bool
	spare tunnel.EdgeAddr

	mu       sync.Mutex
	dialErr  error
	gate     chan struct{} // if set, dials wait until it is closed
	dialled  []tunnel.EdgeAddr
	requests []rpc.RegisterRequest
	sessions []transport.Session
	config   []byte
	calls    []Method
	left     int
	observed []string
}

func (l *lab) Protocol(_ tunnel.Slot, demanded tunnel.Protocol) protocol.Try {
	return protocol.Try{Protocol: cmp.Or(demanded, tunnel.HTTP2)}
}

func (l *lab) Observe(_ tunnel.Slot, a hold.Attempt, e protocol.Event) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.observed = append(l.observed, fmt.Sprint(a.Protocol, " ", e))
	return nil
}

func (l *lab) Dialed(tunnel.EdgeAddr, tunnel.Reason) {}

func (l *lab) Others(tunnel.Slot) int           { return 0 }
func (l *lab) WaitUpTo(int, bool) time.Duration { return time.Second }
func (l *lab) Curves(tunnel.Protocol) string    { return "[]" }

func (l *lab) Dial(ctx context.Context, _ tunnel.Slot, edge tunnel.EdgeAddr, _ tunnel.Protocol) (transport.Session, error) {
	l.mu.Lock()
	gate, err := l.gate, l.dialErr
	l.dialErr = nil
	l.dialled = append(l.dialled, edge)
	l.mu.Unlock()
	if gate != nil {
		<-gate // like a handshake that completes after the attempt was abandoned
	}
	if err != nil {
		return nil, err
	}
	far, near := mem.Pair(context.WithoutCancel(ctx))
	l.mu.Lock()
	l.sessions = append(l.sessions, far)
	l.mu.Unlock()
	l.wg.Go(func() {
		st, err := far.AcceptStream(far.Context())
		if err == nil {
			_ = rpc.ServeRegistration(far.Context(), rpc.StreamConn(st), l)
		}
	})
	return near, nil
}

func (l *lab) Request(_ context.Context, _ transport.Session, slot tunnel.Slot, r lease.Register) rpc.RegisterRequest {
	return rpc.RegisterRequest{TunnelID: slot.Tunnel, Index: slot.Index, Options: rpc.Options{NumPreviousAttempts: r.PreviousAttempts}}
}

func (l *lab) Rotate(tunnel.Slot, tunnel.EdgeAddr) tunnel.EdgeAddr { return l.spare }
func (l *lab) Fresh() bool                                         { return true }
func (l *lab) StoreDown() bool                                     { return l.alone }

func (l *lab) Changed() {}

func (l *lab) Called(m Method, _ time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.calls = append(l.calls, m)
	}
}

func (l *lab) Register(_ context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, req)
	return rpc.ConnectionDetails{Location: "lab"}, nil
}

func (l *lab) Unregister(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left++
	return nil
}

func (l *lab) UpdateLocalConfiguration(_ context.Context, json []byte) error {
	l.mu.Lock()
	l.config = json
	l.mu.Unlock()
	l.Changed()
	return nil
}

// uncounted ignores the events of datagrams.
type uncounted struct{}

func (uncounted) DatagramReceived()                                  {}
func (uncounted) DatagramSent()                                      {}
func (uncounted) DatagramDropped(udp.Reason)                         {}
func (uncounted) SessionsChanged(tunnel.ConnIndex, udp.Version, int) {}
func (uncounted) SessionRegistered(tunnel.ConnIndex, udp.Version)    {}
func (uncounted) Told(time.Duration, error)                          {}

// unobserved ignores the events of streams.
type unobserved struct{}

func (unobserved) StreamOpened()             {}
func (unobserved) StreamEnded(relay.Outcome) {}

func (unobserved) Served(relay.Method, time.Duration, error) {}

func at(n byte) tunnel.EdgeAddr {
	return tunnel.EdgeAddr{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 7844)}
}

func granted(epoch tunnel.Epoch, edge tunnel.EdgeAddr) lease.Event {
	return lease.Event{Kind: lease.EventGranted, Grant: lease.Grant{Epoch: epoch, Edge: edge, Protocol: tunnel.QUIC}}
}

// start runs a holder until the test ends. The returned function waits until the holder has ended by itself.
func start(t *testing.T, l *lab, config func() []byte) (*Holder, func()) {
	t.Helper()
	l.t = t
	logger := slog.New(slog.DiscardHandler)
	all := udp.New(udp.Config{Carrier: link.NewDirect(nil), Observer: uncounted{}, Logger: logger})
	streams := relay.New(relay.Config{
		Datagrams: func(s transport.Session, meta link.Meta, _ relay.Options) relay.Datagrams {
			return all.Session(s, meta, udp.V2)
		},
		Carrier: link.NewDirect(nil), Applier: relay.Unsupported{}, Observer: unobserved{}, Logger: logger, RPCTimeout: time.Second,
	})
	h := New(tunnel.Slot{Tunnel: tunnel.ID{1}}, Config{
		Host: l, Told: l, RPCTimeout: 5 * time.Second, Logger: logger, LocalConfig: config,
		Serve: func(s transport.Session, meta link.Meta, v3 bool) Serving {
			return streams.Session(s, meta, relay.Options{DatagramV3: v3})
		},
		Policy: lease.Policy{
			Delay: func(int) time.Duration { return 0 }, SlowDelay: func(int) time.Duration { return time.Hour },
			ShortDelay: func(int) time.Duration { return 0 }, RefusedDelay: func(int) time.Duration { return 0 },
			NewGrant: time.Hour, Handover: time.Hour, Grace: 5 * time.Second,
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	stop := func() {
		cancel()
		<-done
		l.wg.Wait()
	}
	t.Cleanup(stop)
	return h, func() { <-done }
}

func connected(h *Holder) func() bool {
	return func() bool { return h.Snapshot().Status.State == lease.StateConnected }
}

func TestHolderLife(t *testing.T) {
	l := &lab{}
	h, ended := start(t, l, func() []byte { return []byte("{}") })
	h.Send(granted(5, at(1)))
	testkit.Eventually(l.t, "connected", connected(h))
	testkit.Eventually(l.t, "configuration uploaded", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return string(l.config) == "{}" })
	h.Send(lease.Event{Kind: lease.EventDrain})
	ended()
	if l.left != 1 || h.Snapshot().Phase != lease.PhaseEnded {
		t.Errorf("left %d times, phase %s", l.left, h.Snapshot().Phase)
	}
	if l.sessions[0].Context().Err() == nil {
		t.Error("the session is open")
	}
	if want := []Method{RegisterConnection, UpdateLocalConfiguration, UnregisterConnection}; !slices.Equal(l.calls, want) {
		t.Errorf("calls counted: %v, want %v", l.calls, want)
	}
}

func TestHolderDialsAgain(t *testing.T) {
	l := &lab{}
	h, _ := start(t, l, nil)
	h.Send(granted(5, at(1)))
	testkit.Eventually(l.t, "connected", connected(h))
	_ = l.sessions[0].CloseWithError(0, "edge restarts")
	testkit.Eventually(l.t, "connected again", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.requests) == 2 && connected(h)()
	})
	if l.requests[1].Options.NumPreviousAttempts != 1 {
		t.Errorf("attempts %d", l.requests[1].Options.NumPreviousAttempts)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if want := []string{"quic connected", "quic lost", "quic connected"}; !slices.Equal(l.observed, want) {
		t.Errorf("observed %q", l.observed)
	}
}

// TestHolderReconnects: a forced reconnect ends the session without unregistering, keeps the slot, and counts no failure.
func TestHolderReconnects(t *testing.T) {
	l := &lab{}
	h, _ := start(t, l, nil)
	if h.Reconnect(0) {
		t.Error("Reconnect() = true before the first grant")
	}
	h.Send(granted(5, at(1)))
	testkit.Eventually(t, "connected", connected(h))
	if !h.Reconnect(time.Hour) || h.Reconnect(0) {
		t.Error("Reconnect() breaks the connection not exactly once")
	}
	testkit.Eventually(t, "waiting", func() bool { return h.Snapshot().Phase == lease.PhaseWaiting })
	testkit.Eventually(t, "session ended", func() bool { return l.sessions[0].Context().Err() != nil })
	h.Send(granted(6, at(1)))
	testkit.Eventually(t, "the newer grant", func() bool { return h.Snapshot().Grant.Epoch == 6 })
	if v := h.Snapshot(); v.Phase != lease.PhaseWaiting || v.Status.Retries != 0 || v.Status.State != lease.StateConnecting {
		t.Errorf("%+v, want to wait without a failure", v)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left != 0 || len(l.dialled) != 1 {
		t.Errorf("unregistered %d times, dialled %v, want no call and one dial", l.left, l.dialled)
	}
}

// When the grant requires no protocol, the host chooses it and receives the result of each dial.
func TestHostChoosesTheProtocol(t *testing.T) {
	l := &lab{alone: true, spare: at(9), dialErr: &tunnel.ConnError{Reason: tunnel.ReasonBlocked, Err: errors.New("forbidden")}}
	h, _ := start(t, l, nil)
	h.Send(lease.Event{Kind: lease.EventGranted, Grant: lease.Grant{Epoch: 5, Edge: at(1)}})
	testkit.Eventually(l.t, "connected", connected(h))
	if p := h.Snapshot().Status.Protocol; p != tunnel.HTTP2 {
		t.Errorf("protocol %q", p)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if want := []string{"http2 blocked", "http2 connected"}; !slices.Equal(l.observed, want) {
		t.Errorf("observed %q", l.observed)
	}
}

func TestHolderChoosesAnotherAddressWithoutStore(t *testing.T) {
	l := &lab{alone: true, spare: at(9), dialErr: &tunnel.ConnError{Reason: tunnel.ReasonDial, Err: errors.New("no response")}}
	h, _ := start(t, l, nil)
	h.Send(granted(5, at(1)))
	testkit.Eventually(l.t, "connected", connected(h))
	if v := h.Snapshot(); v.Edge != at(9) || v.Status.Edge != at(9) || v.Grant.Edge != at(1) {
		t.Errorf("%+v", v)
	}
}

func TestSessionOpenedAfterDrainIsClosed(t *testing.T) {
	l := &lab{gate: make(chan struct{})}
	h, ended := start(t, l, nil)
	h.Send(granted(5, at(1)))
	testkit.Eventually(l.t, "dialling", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.dialled) == 1 })
	h.Send(granted(6, at(2)))
	testkit.Eventually(l.t, "dialling anew", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.dialled) == 2 })
	close(l.gate)
	testkit.Eventually(l.t, "connected", connected(h))
	testkit.Eventually(l.t, "one session is closed", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		open := 0
		for _, s := range l.sessions {
			if s.Context().Err() == nil {
				open++
			}
		}
		return len(l.sessions) == 2 && open == 1
	})

	h.Send(lease.Event{Kind: lease.EventReleased})
	ended()
}

func TestKilledWhileDialling(t *testing.T) {
	l := &lab{gate: make(chan struct{})}
	h, _ := start(t, l, nil)
	h.Send(granted(5, at(1)))
	testkit.Eventually(l.t, "dialling", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.dialled) == 1 })
	h.Send(lease.Event{Kind: lease.EventNewer})
	testkit.Eventually(l.t, "ended", func() bool { return h.Snapshot().Phase == lease.PhaseEnded })
	close(l.gate) // goleak and the cleanup fail if the session stays open
	l.wg.Wait()
}
