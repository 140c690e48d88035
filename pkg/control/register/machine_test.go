package register_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/register"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var errOdd = errors.New("odd")

// lab is a worker whose holders and store the test moves.
type lab struct {
	t    *testing.T
	m    *register.Machine
	now  time.Time
	held int
	down bool
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, now: time.Unix(1e9, 0), held: 2}
	l.m = register.NewMachine("w1", 30*time.Second, register.Deps{
		Record:  func() fleet.Worker { return fleet.Worker{ID: "w1", Tunnels: []fleet.TunnelRef{{ID: tunnel.ID{1}}}} },
		Held:    func() int { return l.held },
		StoreUp: func() bool { return !l.down },
	})
	return l
}

func (l *lab) after(d time.Duration) *lab {
	l.now = l.now.Add(d)
	return l
}

// want hands an event over and compares the actions, without the wakes.
func (l *lab) want(e register.Event, want string) {
	l.t.Helper()
	var words []string
	for _, a := range l.m.Step(l.now, e) {
		switch a := a.(type) {
		case register.Wake:
		case register.CallPut:
			words = append(words, fmt.Sprintf("put draining=%v", a.Worker.Draining))
		case register.CallRemove:
			words = append(words, "remove "+string(a.ID))
		case register.Hint:
			words = append(words, "hint "+a.Topic)
		case register.Observe:
			if a.Err != nil {
				words = append(words, "observe error")
			}
		default:
			words = append(words, strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", a), "register.")))
		}
	}
	if got := strings.Join(words, "; "); got != want {
		l.t.Errorf("%T: got %q, want %q", e, got, want)
	}
}

// registered brings the worker to where it is registered.
func registered(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	l.want(register.Started{}, "put draining=false")
	l.want(register.Put{}, "hint fleet")
	return l
}

// announced brings it to where it has written that it drains, and lists the others.
func announced(t *testing.T) *lab {
	t.Helper()
	l := registered(t)
	l.want(register.Leave{}, "refusegrants; put draining=true")
	l.want(register.Put{}, "callworkers")
	return l
}

func other() fleet.Worker {
	return fleet.Worker{ID: "w2", Tunnels: []fleet.TunnelRef{{ID: tunnel.ID{5}}, {ID: tunnel.ID{1}}}}
}

// unfit are workers that cannot replace w1: itself, one that drains, and one that serves another tunnel.
func unfit() []fleet.Worker {
	return []fleet.Worker{
		{ID: "w1", Tunnels: other().Tunnels},
		{ID: "w2", Tunnels: other().Tunnels, Draining: true},
		{ID: "w3", Tunnels: []fleet.TunnelRef{{ID: tunnel.ID{5}}}},
	}
}

func TestRenewals(t *testing.T) {
	l := registered(t)
	l.after(time.Second).want(register.Timer{}, "")
	l.after(time.Second).want(register.Timer{}, "put draining=false")
	l.want(register.Put{}, "")
	l.after(2*time.Second).want(register.Timer{}, "put draining=false")
	l.after(5*time.Second).want(register.Timer{}, "") // one at a time
	l.want(register.Put{Err: errOdd}, "observe error; put draining=false")
	l.want(register.Put{}, "hint fleet") // the registration may have expired meanwhile
	l.after(time.Second).want(register.Timer{}, "put draining=false")
}

func TestNextWake(t *testing.T) {
	l := newLab(t)
	wake := func(e register.Event) (d time.Duration) {
		for _, a := range l.m.Step(l.now, e) {
			if w, ok := a.(register.Wake); ok {
				d = w.After
			}
		}
		return d
	}
	wake(register.Started{})
	l.after(500 * time.Millisecond)
	if d := wake(register.Put{}); d != 1500*time.Millisecond {
		t.Errorf("after the first write: wake after %v, want at the next tick", d)
	}
	wake(register.Leave{})
	l.after(100 * time.Millisecond)
	if d := wake(register.Timer{}); d != 14900*time.Millisecond {
		t.Errorf("while a drain is announced: wake after %v, want after 15 s at the latest", d)
	}
}

func TestChange(t *testing.T) {
	l := registered(t)
	l.want(register.Changed{}, "put draining=false")
	l.want(register.Changed{}, "") // comes with the next write
	l.want(register.Changed{}, "")
	l.want(register.Put{}, "hint fleet; put draining=false")
	l.want(register.Put{Err: errOdd}, "observe error")
}

func TestDrain(t *testing.T) {
	type step struct {
		after time.Duration
		do    func(*lab)
		event register.Event
		want  string
	}
	holdersGone := func(l *lab) { l.held = 0 }
	for name, steps := range map[string][]step{
		"others take over in time": {
			{event: register.Listed{Workers: []fleet.Worker{{ID: "w1"}, other()}}, want: "hint fleet"},
			{after: time.Second, do: func(l *lab) { l.held = 1 }, event: register.HolderGone{}},
			{after: time.Second, event: register.Timer{}, want: "put draining=true"},
			{event: register.Put{}},
			{do: holdersGone, event: register.HolderGone{}, want: "drain; remove w1"},
			{event: register.Removed{}, want: "hint fleet; left"},
			{event: register.Timer{}},
			{after: time.Minute, event: register.Changed{}},
		},
		"others take one after the other: there is time for the next, up to a minute": {
			{event: register.Listed{Workers: []fleet.Worker{other()}}, want: "hint fleet"},
			{after: 14 * time.Second, event: register.HolderGone{}, want: "put draining=true"},
			{after: 9 * time.Second, event: register.HolderGone{}},
			{after: 9 * time.Second, event: register.HolderGone{}},
			{after: 9 * time.Second, event: register.HolderGone{}},
			{after: 9 * time.Second, event: register.HolderGone{}},
			{after: 9 * time.Second, event: register.HolderGone{}},
			{after: 999 * time.Millisecond, event: register.Timer{}},
			{after: time.Millisecond, event: register.Timer{}, want: "drain"},
			{after: 2 * time.Second, event: register.Timer{}, want: ""},
		},
		"others are slow: half of the grace period, then a drain until its end": {
			{event: register.Listed{Workers: []fleet.Worker{other()}}, want: "hint fleet"},
			{after: 14999 * time.Millisecond, event: register.Timer{}, want: "put draining=true"},
			{event: register.Put{}},
			{after: time.Millisecond, event: register.Timer{}, want: "drain"},
			{after: 17 * time.Second, event: register.Timer{}, want: "remove w1"}, // grace and 2 s for the calls to the edge
			{event: register.Removed{Err: errOdd}, want: "notremoved; left"},
		},
		"nobody can take over": {
			{event: register.Listed{Workers: unfit()}, want: "hint fleet; drain"},
			{do: holdersGone, event: register.HolderGone{}, want: "remove w1"},
		},
		"the list cannot be read": {
			{event: register.Listed{Err: errOdd}, want: "drain"},
		},
		"the announcement takes too long": {
			{after: 15 * time.Second, event: register.Timer{}, want: "drain; put draining=true"},
			{event: register.Listed{Workers: []fleet.Worker{other()}}}, // too late
		},
		"the list does not come: the next renewal leads to another one": {
			{event: register.Listed{Err: tunnel.ErrUnavailable}},
			{after: 2 * time.Second, event: register.Timer{}, want: "put draining=true"},
			{event: register.Put{}, want: "callworkers"},
			{event: register.Listed{Workers: unfit()}, want: "hint fleet; drain"},
		},
		"the store is lost during the drain": {
			{event: register.Listed{}, want: "hint fleet; drain"},
			{do: func(l *lab) { l.down, l.held = true, 0 }, event: register.HolderGone{}, want: "left"},
		},
		"the removal takes too long": {
			{do: holdersGone, event: register.Listed{}, want: "hint fleet; drain; remove w1"},
			{after: time.Second, event: register.Timer{}, want: "notremoved; left"},
			{event: register.Removed{}},
		},
		"the removal waits for the write in progress": {
			{event: register.Listed{}, want: "hint fleet; drain"},
			{after: 2 * time.Second, event: register.Timer{}, want: "put draining=true"},
			{do: holdersGone, event: register.HolderGone{}},
			{event: register.Put{}, want: "remove w1"},
		},
		"a second request to leave changes nothing": {
			{event: register.Leave{}},
			{event: register.Listed{}, want: "hint fleet; drain"},
			{event: register.Leave{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := announced(t)
			for _, s := range steps {
				if s.do != nil {
					s.do(l)
				}
				l.after(s.after).want(s.event, s.want)
			}
		})
	}
}

// TestDrainWithoutStore: the sessions stay for a while, so that others can connect their slots when the lease has ended.
func TestDrainWithoutStore(t *testing.T) {
	lost := func(t *testing.T) *lab {
		l := registered(t)
		l.down = true
		l.want(register.Leave{}, "refusegrants; put draining=true")
		l.after(2*time.Second).want(register.Put{Err: tunnel.ErrUnavailable}, "observe error; put draining=true")
		return l
	}
	t.Run("it does not come back", func(t *testing.T) {
		l := lost(t)
		l.after(13*time.Second-1).want(register.Timer{}, "")
		l.after(1).want(register.Timer{}, "drain")
		l.held = 0
		l.want(register.HolderGone{}, "left")
	})
	t.Run("others take all slots over", func(t *testing.T) {
		l := lost(t)
		l.held = 0
		l.want(register.HolderGone{}, "drain; left")
	})
	t.Run("it comes back", func(t *testing.T) {
		l := lost(t)
		l.down = false
		l.want(register.Put{}, "hint fleet; callworkers")
		l.want(register.Listed{Workers: []fleet.Worker{other()}}, "hint fleet")
	})
}

// TestDrainDuringAWrite: the record that was being written does not say that the worker drains; another write must.
func TestDrainDuringAWrite(t *testing.T) {
	l := registered(t)
	l.after(2*time.Second).want(register.Timer{}, "put draining=false")
	l.want(register.Leave{}, "refusegrants")
	l.want(register.Put{}, "put draining=true")
	l.want(register.Put{}, "callworkers")
}

func TestDrainCannotBeAnnounced(t *testing.T) {
	l := registered(t)
	l.want(register.Leave{}, "refusegrants; put draining=true")
	l.want(register.Put{Err: errOdd}, "observe error; drain")
}
