package keep_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const me tunnel.WorkerID = "w1"

var (
	start     = time.Unix(1e9, 0)
	connector = tunnel.ConnectorID{9}
	errDown   = fmt.Errorf("renew: %w", tunnel.ErrUnavailable)
	errOdd    = errors.New("odd")
)

// lab is a keeper whose time and holders the test moves.
type lab struct {
	t       *testing.T
	m       *keep.Machine
	choices *protocol.Choices
	now     time.Time
	views   map[keep.HolderID]hold.View
}

func newLab(t *testing.T, change ...func(*keep.Config)) *lab {
	t.Helper()
	l := &lab{t: t, now: start, views: map[keep.HolderID]hold.View{}}
	l.choices = protocol.NewChoices(func(int64) int64 { return 0 }, time.Minute)
	cfg := keep.Config{Tunnel: tunnel.ID{1}, Worker: me, Pool: "main"}
	for _, c := range change {
		c(&cfg)
	}
	l.m = keep.NewMachine(cfg, keep.Deps{
		View: func(id keep.HolderID) hold.View {
			v, ok := l.views[id]
			if !ok {
				t.Errorf("the machine reads holder %d, which does not run", id)
			}
			return v
		},
		Choices: l.choices, Candidate: func() (tunnel.ConnectorID, error) { return tunnel.ConnectorID{7}, nil },
		Backoff: func(n int64) int64 { return n - 1 }, Pick: func(int) int { return 0 },
	})
	return l
}

// step hands an event over, and starts and ends holders as a runner does. It returns the actions as text.
func (l *lab) step(e keep.Event) string {
	l.t.Helper()
	actions, err := l.m.Step(l.now, e)
	if err != nil {
		l.t.Fatalf("%T: %v", e, err)
	}
	var words []string
	for _, a := range actions {
		if s, ok := a.(keep.Start); ok {
			l.views[s.Holder] = hold.View{}
		}
		words = append(words, describe(a))
	}
	return strings.Join(words, "; ")
}

func (l *lab) want(e keep.Event, want string) {
	l.t.Helper()
	if got := l.step(e); got != want {
		l.t.Errorf("%T:\n got %s\nwant %s", e, got, want)
	}
}

func (l *lab) after(d time.Duration) *lab {
	l.now = l.now.Add(d)
	return l
}

// running brings the keeper to the rest after its first renewal, with these records.
func (l *lab) running(records ...lease.Record) string {
	l.t.Helper()
	l.step(keep.Started{})
	l.step(keep.Identified{Connector: connector})
	l.step(keep.PoolRead{Pool: pool(2, 2)})
	return l.step(keep.Renewed{Table: lease.Table{Records: records}})
}

// renew makes one more renewal, which returns these records.
func (l *lab) renew(records ...lease.Record) string {
	l.t.Helper()
	l.after(2 * time.Second)
	if got := l.step(keep.Timer{}); !strings.Contains(got, "renew") {
		l.t.Fatalf("after 2 s: %q, want a renewal", got)
	}
	return l.step(keep.Renewed{Table: lease.Table{Records: records}})
}

func describe(a keep.Action) string {
	switch a := a.(type) {
	case keep.CallConnector:
		return fmt.Sprintf("call connector %x", a.Candidate[0])
	case keep.CallWorkers:
		return "call workers"
	case keep.CallPool:
		return "call pool " + a.Name
	case keep.CallRenew:
		text := "call renew"
		for _, r := range a.Reports {
			text += fmt.Sprintf(" %d@%d=%s", r.Index, r.Epoch, r.Status.State)
			if r.Status.Prefers != "" {
				text += "/" + string(r.Status.Prefers)
			}
		}
		return text
	case keep.CallRelease:
		return fmt.Sprintf("call release %d@%d", a.Slot.Index, a.Epoch)
	case keep.Hint:
		return "hint " + a.Topic
	case keep.Observe:
		if a.Err != nil {
			return "observe error"
		}
		return "observe"
	case keep.Start:
		return fmt.Sprintf("start %d of slot %d", a.Holder, a.Slot.Index)
	case keep.Send:
		epoch := a.Event.Grant.Epoch + a.Event.Newer.Epoch
		return fmt.Sprintf("send %d %s %d", a.Holder, a.Event.Kind, epoch)
	case keep.Rename:
		return fmt.Sprintf("rename %d to %x", a.Holder, a.Connector[0])
	case keep.Named:
		return strings.TrimSuffix(fmt.Sprintf("named %x was %x", a.Connector[0], a.Former[0]), " was 0")
	case keep.Damaged:
		return "damaged " + a.String()
	case keep.Wake:
		return fmt.Sprintf("wake %v", a.After)
	case keep.Probe:
		return fmt.Sprintf("probe slot %d over %s", a.Slot.Index, a.Protocol)
	case keep.Turned:
		return fmt.Sprintf("turned slot %d %s", a.Slot.Index, a.Change.Turn)
	default:
		return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", a), "keep."))
	}
}

func addr(region, n int) tunnel.EdgeAddr {
	return tunnel.EdgeAddr{
		Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(region), byte(n)}), 7844),
		Region: tunnel.Region(fmt.Sprintf("r%d", region)),
	}
}

// pool makes a pool with regions of the given sizes.
func pool(sizes ...int) edgepool.Pool {
	p := edgepool.Pool{Version: 1, Source: edgepool.SourceSRV}
	for region, n := range sizes {
		var all []netip.AddrPort
		for i := range n {
			all = append(all, addr(region, i).Addr)
		}
		p.Regions = append(p.Regions, edgepool.NewRegion(tunnel.Region(fmt.Sprintf("r%d", region)), all))
	}
	return p
}

func slot(index tunnel.ConnIndex) tunnel.Slot {
	return tunnel.Slot{Tunnel: tunnel.ID{1}, Connector: connector, Index: index}
}

// record is a live slot.
func record(index tunnel.ConnIndex, worker tunnel.WorkerID, epoch tunnel.Epoch, edge tunnel.EdgeAddr) lease.Record {
	return lease.Record{
		Grant: lease.Grant{Slot: slot(index), Worker: worker, Epoch: epoch, Edge: edge}, Live: true,
		Status: lease.Status{State: lease.StateGranted},
	}
}

func dead(r lease.Record) lease.Record {
	r.Live = false
	return r
}

func view(phase lease.Phase, state lease.State, epoch tunnel.Epoch, edge tunnel.EdgeAddr) hold.View {
	return hold.View{
		Phase: phase, Grant: lease.Grant{Epoch: epoch, Edge: edge}, Edge: edge,
		Status: lease.Status{State: state, Protocol: tunnel.QUIC},
	}
}

func connected(epoch tunnel.Epoch, edge tunnel.EdgeAddr) hold.View {
	return view(lease.PhaseConnected, lease.StateConnected, epoch, edge)
}

func holders(m *keep.Machine) string {
	var words []string
	for _, h := range m.Holders() {
		words = append(words, fmt.Sprintf("%d/%d", h.Slot.Index, h.Holder))
	}
	return strings.Join(slices.Compact(words), " ")
}
