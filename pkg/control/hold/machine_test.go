package hold_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var start = time.Unix(1e9, 0)

// host is a worker that notes what it is asked.
type host struct {
	down   bool
	stale  bool
	falls  bool
	beside tunnel.Protocol
	spare  tunnel.EdgeAddr
	asked  []string
}

func (h *host) Protocol(_ time.Time, _ tunnel.Slot, demanded tunnel.Protocol) protocol.Try {
	if demanded == "" {
		demanded = tunnel.HTTP2
	}
	return protocol.Try{Protocol: demanded, Beside: h.beside}
}

func (h *host) Dialed(_ time.Time, edge tunnel.EdgeAddr, reason tunnel.Reason) {
	h.asked = append(h.asked, fmt.Sprintf("dialed %s %q", edge, reason))
}

func (h *host) Observe(_ time.Time, _ tunnel.Slot, a hold.Attempt, e protocol.Event) bool {
	h.asked = append(h.asked, fmt.Sprintf("attempt %d over %s %s", a.Number, a.Protocol, e))
	return h.falls
}

func (h *host) Rotate(_ time.Time, _ tunnel.Slot, avoid tunnel.EdgeAddr) tunnel.EdgeAddr {
	h.asked = append(h.asked, fmt.Sprintf("rotate %s", avoid))
	return h.spare
}

func (h *host) StoreDown() bool { return h.down }

func (h *host) Fresh(time.Time) bool { return !h.stale }

func policy() lease.Policy {
	return lease.Policy{
		Delay:      func(retries int) time.Duration { return time.Second << min(retries, 5) },
		SlowDelay:  func(retries int) time.Duration { return time.Minute * time.Duration(retries) },
		ShortDelay: func(int) time.Duration { return time.Minute }, RefusedDelay: func(int) time.Duration { return time.Second },
		NewGrant: 3 * time.Second, Handover: 15 * time.Second, Grace: 30 * time.Second,
	}
}

func addr(n int) tunnel.EdgeAddr {
	return tunnel.EdgeAddr{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 7844)}
}

func attempt(n, edge int) hold.Attempt {
	return hold.Attempt{Number: uint64(n), Edge: addr(edge), Protocol: tunnel.QUIC}
}

func granted(epoch tunnel.Epoch, edge int) hold.Event {
	return hold.Sent{Event: lease.Event{
		Kind: lease.EventGranted, Grant: lease.Grant{Epoch: epoch, Edge: addr(edge), Protocol: tunnel.QUIC},
	}}
}

func sent(k lease.EventKind) hold.Event { return hold.Sent{Event: lease.Event{Kind: k}} }

func failure(r tunnel.Reason) error {
	return &tunnel.ConnError{Reason: r, Retryable: true, Err: errors.New("cause")}
}

func describe(a hold.Action) string {
	switch a := a.(type) {
	case hold.Note:
		return fmt.Sprintf("%s: %s -> %s", a.Event.Kind, a.Before, a.View.Phase)
	case hold.Dial:
		return fmt.Sprintf("dial %d %s", a.Attempt.Number, a.Attempt.Edge.Addr.Addr())
	case hold.Register:
		return fmt.Sprintf("register %d epoch %d", a.Attempt.Number, a.Epoch)
	case hold.Serve:
		return fmt.Sprintf("serve %d", a.Attempt.Number)
	case hold.Upload:
		return fmt.Sprintf("upload %d", a.Attempt.Number)
	case hold.Unregister:
		return fmt.Sprintf("unregister %d", a.Attempt.Number)
	case hold.Drain:
		return fmt.Sprintf("drain %d within %v", a.Attempt.Number, a.Within)
	case hold.Close:
		return fmt.Sprintf("close %d %s", a.Attempt.Number, a.Reason)
	case hold.Wake:
		return fmt.Sprintf("wake %v", a.After)
	case hold.Report:
		return "report"
	case hold.Announce:
		return "announce"
	default:
		return fmt.Sprintf("unknown action %T", a)
	}
}

func describeAll(actions []hold.Action) string {
	var words []string
	for _, a := range actions {
		words = append(words, describe(a))
	}
	return strings.Join(words, "; ")
}

func lastWake(actions []hold.Action) (wake hold.Wake, found bool) {
	for _, a := range actions {
		if w, ok := a.(hold.Wake); ok {
			wake, found = w, true
		}
	}
	return wake, found
}

func TestMachine(t *testing.T) {
	type step struct {
		event hold.Event
		want  string
	}
	connect := []step{
		{granted(5, 1), "granted: idle -> dialing; report; dial 1 192.0.2.1"},
		{hold.Dialed{Attempt: attempt(1, 1)}, "dialed: dialing -> registering; register 1 epoch 5"},
		{
			hold.Registered{Attempt: attempt(1, 1), RemotelyManaged: true},
			"registered: registering -> connected; serve 1; report",
		},
	}
	cases := []struct {
		name  string
		host  host
		index tunnel.ConnIndex
		steps []step
		asked []string
	}{
		{
			name: "a drain unregisters, waits for the flows and closes",
			steps: append(connect[:3:3],
				step{sent(lease.EventDrain), "drain: connected -> draining; report; unregister 1; drain 1 within 30s"},
				step{hold.Drained{Attempt: attempt(1, 1)}, "drained: draining -> ended; close 1 drained; report"},
				step{hold.Ended{Attempt: attempt(1, 1)}, "close 1 drained"},
			),
			asked: []string{`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic connected", "attempt 1 over quic lost"},
		},
		{
			name: "index 0 of a locally managed tunnel uploads its configuration",
			steps: []step{
				connect[0], connect[1],
				{hold.Registered{Attempt: attempt(1, 1)}, "registered: registering -> connected; serve 1; upload 1; report"},
			},
			asked: []string{`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic connected"},
		},
		{
			name: "other indices upload nothing", index: 1,
			steps: []step{
				connect[0], connect[1],
				{hold.Registered{Attempt: attempt(1, 1)}, "registered: registering -> connected; serve 1; report"},
			},
			asked: []string{`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic connected"},
		},
		{
			name: "a dial that completes after it was given up is closed, and says nothing",
			steps: []step{
				connect[0],
				{granted(6, 2), "granted: dialing -> dialing; close 1 fenced; report; dial 2 192.0.2.2"},
				{hold.Dialed{Attempt: attempt(1, 1)}, "close 1 drained"},
				{hold.Dialed{Attempt: attempt(2, 2)}, "dialed: dialing -> registering; register 2 epoch 6"},
			},
			asked: []string{`dialed 192.0.2.2:7844 ""`},
		},
		{
			name: "a dial that fails after it was given up counts for nothing",
			steps: []step{
				connect[0],
				{granted(6, 2), "granted: dialing -> dialing; close 1 fenced; report; dial 2 192.0.2.2"},
				{hold.Dialed{Attempt: attempt(1, 1), Err: failure(tunnel.ReasonDial)}, "close 1 drained"},
			},
		},
		{
			name: "a registration that completes after it was given up is closed",
			steps: []step{
				connect[0], connect[1],
				{granted(6, 2), "granted: registering -> dialing; close 1 fenced; report; dial 2 192.0.2.2"},
				{hold.Registered{Attempt: attempt(1, 1)}, "close 1 drained"},
				{hold.Dialed{Attempt: attempt(2, 2)}, "dialed: dialing -> registering; register 2 epoch 6"},
				{
					hold.Registered{Attempt: attempt(2, 2), RemotelyManaged: true},
					"registered: registering -> connected; serve 2; report",
				},
			},
			asked: []string{
				`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic connected", `dialed 192.0.2.2:7844 ""`, "attempt 2 over quic connected",
			},
		},
		{
			name: "a registration goes on under a newer grant of the same address",
			steps: []step{
				connect[0], connect[1],
				{granted(6, 1), "granted: registering -> registering; report"},
				{
					hold.Registered{Attempt: attempt(1, 1), RemotelyManaged: true},
					"registered: registering -> connected; serve 1; report",
				},
			},
			asked: []string{`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic connected"},
		},
		{
			name: "a lost session is dialled again, and its late result closes nothing new",
			steps: append(connect[:3:3],
				step{
					hold.Ended{Attempt: attempt(1, 1), Err: failure(tunnel.ReasonPeerClosed)},
					"lost: connected -> waiting; close 1 peer_closed; report; wake 2s",
				},
				step{hold.Drained{Attempt: attempt(1, 1)}, "close 1 drained"},
			),
			asked: []string{
				`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic connected", `dialed 192.0.2.1:7844 "peer_closed"`, "attempt 1 over quic lost",
			},
		},
		{
			name: "without the store a failed address is left at once",
			host: host{down: true, spare: addr(9)},
			steps: []step{
				connect[0],
				{
					hold.Dialed{Attempt: attempt(1, 1), Err: failure(tunnel.ReasonDial)},
					"dial_failed: dialing -> parked; close 1 dial; report; wake 0s",
				},
				{hold.Timer{}, "timer: parked -> parked; rotated: parked -> waiting; report; wake 0s"},
			},
			asked: []string{`dialed 192.0.2.1:7844 "dial"`, "attempt 1 over quic dial_failed", "rotate 192.0.2.1:7844"},
		},
		{
			name: "a fallback skips the backoff",
			host: host{falls: true, down: true},
			steps: []step{
				{
					hold.Sent{Event: lease.Event{
						Kind: lease.EventGranted, Retries: 4, Grant: lease.Grant{Epoch: 5, Edge: addr(1), Protocol: tunnel.QUIC},
					}},
					"granted: idle -> waiting; report; wake 16s",
				},
				{hold.Timer{}, "timer: waiting -> dialing; dial 1 192.0.2.1"},
				{
					hold.Dialed{Attempt: attempt(1, 1), Err: failure(tunnel.ReasonBlocked)},
					"dial_failed: dialing -> parked; close 1 blocked; report; wake 0s",
				},
				{hold.Timer{}, "timer: parked -> parked; rotated: parked -> waiting; report; wake 2s"},
			},
			asked: []string{`dialed 192.0.2.1:7844 "blocked"`, "attempt 1 over quic blocked", "rotate 192.0.2.1:7844"},
		},
		{
			name: "a grant without a protocol leaves the choice to the host",
			steps: []step{
				{
					hold.Sent{Event: lease.Event{Kind: lease.EventGranted, Grant: lease.Grant{Epoch: 5, Edge: addr(1)}}},
					"granted: idle -> dialing; report; dial 1 192.0.2.1",
				},
				{
					hold.Dialed{Attempt: hold.Attempt{Number: 1, Edge: addr(1), Protocol: tunnel.HTTP2}},
					"dialed: dialing -> registering; register 1 epoch 5",
				},
			},
			asked: []string{`dialed 192.0.2.1:7844 ""`},
		},
		{
			name: "an abandoned holder closes without unregistering, and takes nothing more",
			steps: append(connect[:3:3],
				step{hold.Abandoned{}, "close 1 drained"},
				step{granted(7, 2), ""},
				step{hold.Timer{}, ""},
				step{hold.Ended{Attempt: attempt(1, 1)}, "close 1 drained"},
				step{hold.Abandoned{}, ""},
			),
			asked: []string{`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic connected", "attempt 1 over quic lost"},
		},
		{
			name: "a forced reconnect closes the session and counts no failure",
			steps: append(connect[:3:3],
				step{
					hold.Sent{Event: lease.Event{Kind: lease.EventReconnect, Delay: time.Minute}},
					"reconnect: connected -> waiting; close 1 forced; report; wake 1m0s",
				},
			),
			asked: []string{`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic connected"},
		},
		{
			name: "a refusal for good is announced once and retried slowly",
			steps: []step{
				connect[0], connect[1],
				{
					hold.Registered{Attempt: attempt(1, 1), Err: &tunnel.ConnError{Reason: tunnel.ReasonRefused, Err: errors.New("no")}},
					"rejected: registering -> refused; close 1 refused; report; wake 1m0s; announce",
				},
			},
			asked: []string{`dialed 192.0.2.1:7844 ""`, "attempt 1 over quic lost"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := hold.NewMachine(tunnel.Slot{Index: c.index}, &c.host, policy())
			now := start
			for i, s := range c.steps {
				actions, err := m.Step(now, s.event)
				if err != nil {
					t.Fatalf("step %d, %T: %v", i, s.event, err)
				}
				if wake, ok := lastWake(actions); ok {
					now = now.Add(wake.After) // the timer is the next event of a story that has one
				}
				if got := describeAll(actions); got != s.want {
					t.Errorf("step %d, %+v:\n got %s\nwant %s", i, s.event, got, s.want)
				}
			}
			if diff := cmp.Diff(c.asked, c.host.asked); diff != "" {
				t.Errorf("asked of the host (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnexpectedEventChangesNothing: a result that the machine did not ask for is an error.
func TestUnexpectedEventChangesNothing(t *testing.T) {
	m := hold.NewMachine(tunnel.Slot{Index: 3}, &host{}, policy())
	if _, err := m.Step(start, granted(5, 1)); err != nil {
		t.Fatal(err)
	}
	before := m.View()
	actions, err := m.Step(start, hold.Drained{Attempt: m.Attempt()})
	if !errors.Is(err, lease.ErrUnexpected) || len(actions) > 0 || !strings.Contains(err.Error(), "slot 3") {
		t.Errorf("Step(drained while dialing) = %v, %v, want lease.ErrUnexpected of slot 3", actions, err)
	}
	if diff := cmp.Diff(before, m.View(), cmp.Comparer(sameEdge)); diff != "" {
		t.Errorf("the view changed:\n%s", diff)
	}
}

func sameEdge(a, b tunnel.EdgeAddr) bool { return a == b }

func TestTimes(t *testing.T) {
	times := hold.Times{Grace: 30 * time.Second, Retries: 5}
	longest := times.Policy(func(n int64) int64 { return n - 1 })
	for retries, want := range []time.Duration{1, 2, 4, 8, 16, 32, 32} {
		if got := longest.Delay(retries); got != want*time.Second-1 {
			t.Errorf("Delay(%d) = %v, want just under %v", retries, got, want*time.Second)
		}
		if got := times.WaitUpTo(retries, false); got != want*time.Second {
			t.Errorf("WaitUpTo(%d, false) = %v, want %v", retries, got, want*time.Second)
		}
	}
	for retries, want := range map[int]time.Duration{1: time.Minute, 2: 90 * time.Second, 5: 510 * time.Second, 9: 510 * time.Second} {
		if got := longest.SlowDelay(retries); got != want-1 || times.WaitUpTo(retries, true) != want {
			t.Errorf("SlowDelay(%d) = %v of up to %v, want just under %v", retries, got, times.WaitUpTo(retries, true), want)
		}
	}
	if longest.Handover != 15*time.Second || longest.Grace != 30*time.Second || longest.NewGrant != 1500*time.Millisecond {
		t.Errorf("policy %+v", longest)
	}
}

// TestOvertaken: a session of the second dial uses the second protocol from then on, in all that is said about it.
func TestOvertaken(t *testing.T) {
	h := &host{beside: tunnel.HTTP2}
	m := hold.NewMachine(tunnel.Slot{Index: 1}, h, policy())
	now := time.Unix(1e9, 0)
	g := lease.Grant{Worker: "w1", Epoch: 5, Edge: addr(1), Protocol: tunnel.QUIC}
	actions, err := m.Step(now, hold.Sent{Event: lease.Event{Kind: lease.EventGranted, Grant: g}})
	if err != nil {
		t.Fatal(err)
	}
	var dial hold.Dial
	for _, a := range actions {
		if d, ok := a.(hold.Dial); ok {
			dial = d
		}
	}
	if dial.Attempt.Protocol != tunnel.QUIC || dial.Beside != tunnel.HTTP2 {
		t.Fatalf("%+v, want a dial over both", dial)
	}
	for _, e := range []hold.Event{
		hold.Dialed{Attempt: dial.Attempt, Beside: tunnel.HTTP2},
		hold.Registered{Attempt: dial.Attempt},
		hold.Ended{Attempt: dial.Attempt, Err: failure(tunnel.ReasonIdle)},
	} {
		if _, err := m.Step(now, e); err != nil {
			t.Fatal(err)
		}
		if p := m.View().Status.Protocol; p != tunnel.HTTP2 {
			t.Errorf("after %T: %s", e, p)
		}
	}
	got := strings.Join(h.asked, "; ")
	want := fmt.Sprintf(`dialed %[1]s ""; attempt 1 over quic overtaken; attempt 1 over http2 connected; dialed %[1]s "idle"; `+
		`attempt 1 over http2 lost`, addr(1))
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
