package lease

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testPolicy has no randomness: the wait is the ceiling.
func testPolicy() Policy {
	return Policy{
		Delay:        func(retries int) time.Duration { return time.Second << min(retries, 5) },
		SlowDelay:    func(retries int) time.Duration { return 30 * time.Second << min(retries-1, 3) },
		ShortDelay:   func(n int) time.Duration { return 15 * time.Second << min(n-1, 3) },
		RefusedDelay: func(n int) time.Duration { return 250 * time.Millisecond << min(n-1, 3) },
		NewGrant:     3 * time.Second,
		Handover:     15 * time.Second,
		Grace:        30 * time.Second,
	}
}

func addr(n int) tunnel.EdgeAddr {
	ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
	return tunnel.EdgeAddr{Addr: netip.AddrPortFrom(ip, 7844), Region: tunnel.Region(fmt.Sprintf("region%d", n%2+1))}
}

func grant(epoch tunnel.Epoch, edge int, wait time.Duration) Grant {
	return Grant{Worker: "w1", Epoch: epoch, Edge: addr(edge), Protocol: tunnel.QUIC, Wait: wait}
}

func conn(reason tunnel.Reason) error {
	return &tunnel.ConnError{Reason: reason, Err: errors.New("cause")}
}

func describe(a Action) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", a), "lease.")
	switch a := a.(type) {
	case Dial:
		return fmt.Sprintf("%s %s %s", name, a.Edge, a.Protocol)
	case Register:
		return fmt.Sprintf("%s epoch=%d attempts=%d", name, a.Epoch, a.PreviousAttempts)
	case Wake:
		return fmt.Sprintf("%s %v", name, a.After)
	case Rotate:
		return fmt.Sprintf("%s avoid=%s", name, a.Avoid)
	case CloseAfterDrain:
		return fmt.Sprintf("%s %v", name, a.Within)
	case Close:
		return fmt.Sprintf("%s %s", name, a.Reason)
	case Announce:
		return fmt.Sprintf("%s %v", name, a.Err)
	default:
		return name
	}
}

func describeAll(actions []Action) string {
	parts := make([]string, len(actions))
	for i, a := range actions {
		parts[i] = describe(a)
	}
	return strings.Join(parts, ", ")
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// machineIn brings a machine into a phase by the shortest way that leads there.
func machineIn(t *testing.T, p Phase, now time.Time) *Machine {
	t.Helper()
	m := NewMachine(testPolicy())
	way := map[Phase][]Event{
		PhaseIdle:        {},
		PhaseWaiting:     {{Kind: EventGranted, Grant: grant(10, 1, time.Second)}},
		PhaseDialing:     {{Kind: EventGranted, Grant: grant(10, 1, 0)}},
		PhaseRegistering: {{Kind: EventGranted, Grant: grant(10, 1, 0)}, {Kind: EventDialed}},
		PhaseParked: {
			{Kind: EventGranted, Grant: grant(10, 1, 0)}, {Kind: EventDialFailed, Err: conn(tunnel.ReasonDial)},
		},
		PhaseRefused: {
			{Kind: EventGranted, Grant: grant(10, 1, 0)},
			{Kind: EventDialed},
			{Kind: EventRejected, Err: conn(tunnel.ReasonRefused)},
		},
		PhaseEnded: {{Kind: EventDrain}},
	}
	way[PhaseConnected] = append(append([]Event{}, way[PhaseRegistering]...), Event{Kind: EventRegistered, Location: "lab1"})
	way[PhaseSuperseded] = append(append([]Event{}, way[PhaseConnected]...), Event{Kind: EventNewer, Newer: blocked()})
	way[PhaseDraining] = append(append([]Event{}, way[PhaseConnected]...), Event{Kind: EventDrain})
	for _, e := range way[p] {
		if _, err := m.Step(now, e); err != nil {
			t.Fatal(err)
		}
	}
	if m.Phase() != p {
		t.Fatalf("the way to %s leads to %s", p, m.Phase())
	}
	return m
}

func newer(s State) Record {
	r := Record{Grant: grant(20, 2, 0), Live: true}
	r.Worker, r.Status.State = "w2", s
	return r
}

// blocked is a newer holder that needs the same address.
func blocked() Record {
	r := newer(StateConnecting)
	r.Edge = addr(1)
	return r
}

// sample has one event of every kind.
func sample(k EventKind) Event {
	e := Event{Kind: k}
	switch k {
	case EventGranted:
		e.Grant = grant(11, 3, 500*time.Millisecond)
	case EventDialFailed:
		e.Err = conn(tunnel.ReasonDial)
	case EventDuplicate:
		e.Err = conn(tunnel.ReasonDuplicate)
	case EventRefused:
		e.Err, e.RetryAfter = conn(tunnel.ReasonRefused), 20*time.Second
	case EventRejected:
		e.Err = conn(tunnel.ReasonRefused)
	case EventBroken:
		e.Err = conn(tunnel.ReasonRPC)
	case EventLost:
		e.Err = conn(tunnel.ReasonPeerClosed)
	case EventSilent:
		e.Err = conn(tunnel.ReasonIdle)
	case EventRegistered:
		e.Location = "lab2"
	case EventRotated:
		e.Edge = addr(4)
	case EventReconnect:
		e.Delay = 15 * time.Second
	case EventNewer:
		e.Newer = newer(StateConnected)
	case EventTimer, EventDialed, EventReleased, EventDrain, EventDrained, eventKinds:
	}
	return e
}

func TestFullProduct(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var out strings.Builder
	for p := range phases {
		fmt.Fprintf(&out, "%s\n", p)
		for k := range eventKinds {
			m := machineIn(t, p, start)
			actions, err := m.Step(start.Add(time.Hour), sample(k))
			switch {
			case errors.Is(err, ErrUnexpected):
				fmt.Fprintf(&out, "  %-12s cannot happen\n", k)
				if m.Phase() != p {
					t.Errorf("%s in %s: refused, yet the phase became %s", k, p, m.Phase())
				}
			case err != nil:
				t.Fatal(err)
			default:
				line := fmt.Sprintf("  %-12s -> %-11s %s", k, m.Phase(), describeAll(actions))
				fmt.Fprintf(&out, "%s\n", strings.TrimRight(line, " "))
			}
		}
	}
	golden(t, "testdata/product.golden", out.String())
}

func TestStepRejectsUnknownEvents(t *testing.T) {
	m := NewMachine(testPolicy())
	if _, err := m.Step(time.Time{}, Event{Kind: eventKinds}); !errors.Is(err, ErrUnexpected) {
		t.Errorf("got %v", err)
	}
	if got := eventKinds.String() + " " + phases.String(); got != "event(17) phase(10)" {
		t.Errorf("got %q", got)
	}
}

func TestFailureKinds(t *testing.T) {
	refused := func(retryable bool) error {
		return fmt.Errorf("registration: %w", &tunnel.ConnError{
			Reason: tunnel.ReasonRefused, Retryable: retryable, RetryAfter: time.Minute, Err: errors.New("no"),
		})
	}
	tests := []struct {
		name string
		got  Event
		kind EventKind
	}{
		{"dial", DialFailure(conn(tunnel.ReasonTLS), false), EventDialFailed},
		{"duplicate", RegisterFailure(conn(tunnel.ReasonDuplicate), false), EventDuplicate},
		{"refused", RegisterFailure(refused(true), false), EventRefused},
		{"rejected", RegisterFailure(refused(false), false), EventRejected},
		{"time-out", RegisterFailure(conn(tunnel.ReasonRPC), false), EventBroken},
		{"untyped", RegisterFailure(errors.New("plain"), true), EventBroken},
		{"closed", Loss(conn(tunnel.ReasonPeerClosed), false), EventLost},
		{"silent", Loss(conn(tunnel.ReasonIdle), true), EventSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got.Kind != tt.kind {
				t.Errorf("got %s, want %s", tt.got.Kind, tt.kind)
			}
			if wait := tt.got.RetryAfter; (wait == time.Minute) != (tt.kind == EventRefused) {
				t.Errorf("retry after %v", wait)
			}
		})
	}
}

func TestStatusOfEveryPhase(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var out strings.Builder
	for p := range phases {
		s := machineIn(t, p, start).Status(3)
		fmt.Fprintf(&out, "%-11s %+v\n", p, s)
	}
	golden(t, "testdata/status.golden", out.String())
}
