package keep_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestFollow(t *testing.T) {
	held := record(0, me, 5, addr(0, 0)) // what holder 1 holds
	released := lease.Record{Grant: lease.Grant{Slot: slot(0), Epoch: 5}}
	inState := func(r lease.Record, s lease.State) lease.Record {
		r.Status.State = s
		return r
	}
	cases := []struct {
		name string
		view hold.View
		next lease.Record
		want string
	}{
		{"the same grant", connected(5, addr(0, 0)), held, ""},
		{"an older grant, from a store that was restored", connected(5, addr(0, 0)), record(0, me, 3, addr(0, 0)), ""},
		{"a newer grant on the same address", connected(5, addr(0, 0)), record(0, me, 6, addr(0, 0)), "send 1 granted 6"},
		{
			"a newer grant on the same address, after a newer epoch was seen", view(lease.PhaseSuperseded, lease.StateConnected, 5, addr(0, 0)),
			record(0, me, 6, addr(0, 0)), "send 1 granted 6",
		},
		{
			"a newer grant on another address", connected(5, addr(0, 0)), record(0, me, 6, addr(1, 1)),
			"start 2 of slot 0; send 2 granted 6; send 1 newer 6",
		},
		{
			"a newer grant on another address, while not connected", view(lease.PhaseDialing, lease.StateConnecting, 5, addr(0, 0)),
			record(0, me, 6, addr(1, 1)), "send 1 granted 6",
		},
		{
			"a newer grant on the granted address, while connected elsewhere", connected(5, addr(1, 1)), record(0, me, 6, addr(0, 0)),
			"start 2 of slot 0; send 2 granted 6; send 1 newer 6",
		},
		{
			"a newer grant while draining", view(lease.PhaseDraining, lease.StateDraining, 5, addr(0, 0)), record(0, me, 6, addr(0, 0)),
			"start 2 of slot 0; send 2 granted 6; send 1 newer 6",
		},
		{"an own grant that has expired", connected(5, addr(0, 0)), dead(held), ""},
		{"a newer own grant that has expired", connected(5, addr(0, 0)), dead(record(0, me, 6, addr(0, 0))), "send 1 newer 6"},
		{"another worker has the slot", connected(5, addr(0, 0)), record(0, "w2", 6, addr(1, 1)), "send 1 newer 6"},
		{
			"another worker is connected", connected(5, addr(0, 0)), inState(record(0, "w2", 6, addr(1, 1)), lease.StateConnected),
			"send 1 newer 6",
		},
		{"another worker has the slot under the same epoch", connected(5, addr(0, 0)), record(0, "w2", 5, addr(1, 1)), "send 1 newer 5"},
		{"another worker had the slot before", connected(5, addr(0, 0)), record(0, "w2", 4, addr(1, 1)), ""},
		{"the slot is released", connected(5, addr(0, 0)), released, "send 1 released 0"},
		{
			"an older grant is released", connected(5, addr(0, 0)), lease.Record{Grant: lease.Grant{Slot: slot(0), Epoch: 4}}, "",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			if got := l.running(held); got != "observe; start 1 of slot 0; send 1 granted 5; wake 10ms" {
				t.Fatalf("the first grant: %s", got)
			}
			l.views[1] = c.view
			want := "observe; hint status; "
			if c.want != "" {
				want += c.want + "; "
			}
			if got := l.renew(c.next); got != want+"wake 10ms" {
				t.Errorf("\n got %s\nwant %swake 10ms", got, want)
			}
		})
	}
}

// TestGrantInheritsFailures: a new holder begins with the failures of the former ones.
func TestGrantInheritsFailures(t *testing.T) {
	l := newLab(t)
	l.running()
	l.step(keep.Woken{})
	l.after(lease.RenewEvery).step(keep.Timer{})
	r := record(2, me, 5, addr(0, 0))
	r.Status.Retries, r.Status.Past = 4, lease.Past{Short: 3, Deaths: 1}
	actions, err := l.m.Step(l.now, keep.Renewed{Table: lease.Table{Records: []lease.Record{r}}})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(actions, func(a keep.Action) bool { _, ok := a.(keep.Send); return ok })
	if i < 0 {
		t.Fatalf("actions %+v, want a grant", actions)
	}
	if e := actions[i].(keep.Send).Event; e.Retries != 4 || e.Past != r.Status.Past || e.Grant != r.Grant {
		t.Errorf("%+v, want the grant with 4 failures and %+v", e, r.Status.Past)
	}
}

func TestEndOfHolders(t *testing.T) {
	for name, c := range map[string]struct {
		killed bool
		err    error
		want   string
	}{
		"released":                          {want: "observe; hint status; gone"},
		"another one has it":                {err: tunnel.ErrFenced, want: "observe error; gone"},
		"the store does not know it":        {err: tunnel.ErrNotFound, want: "observe error; gone"},
		"the store is away":                 {err: errDown, want: "observe error; gone"},
		"the store refuses":                 {err: errOdd, want: "observe error; notreleased; gone"},
		"the process ends, no call is made": {killed: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.running(record(0, me, 5, addr(0, 0)), record(1, me, 6, addr(1, 0)))
			if c.killed {
				l.want(keep.HolderEnded{Holder: 2, Killed: true}, "gone")
			} else {
				l.want(keep.HolderEnded{Holder: 2}, "call release 1@6")
				if got := l.m.Count(); got != 2 {
					t.Errorf("Count() = %d during the release, want 2", got)
				}
				l.want(keep.Released{Holder: 2, Err: c.err}, c.want)
			}
			if got := l.m.Count(); got != 1 || holders(l.m) != "0/1" {
				t.Errorf("Count() = %d, holders %s, want one, 0/1", got, holders(l.m))
			}
		})
	}
}

// TestReleaseNamesTheNewestEpoch: what was sent to the holder counts, even if it has not handled it.
func TestReleaseNamesTheNewestEpoch(t *testing.T) {
	l := newLab(t)
	l.running(record(0, me, 5, addr(0, 0)))
	l.renew(record(0, me, 8, addr(0, 0)))
	l.want(keep.HolderEnded{Holder: 1}, "call release 0@8")
	l.want(keep.Released{Holder: 1}, "observe; hint status; gone")
	if got := l.renew(record(0, me, 8, addr(0, 0))); strings.Contains(got, "start") {
		t.Errorf("the epoch that was held starts again: %s", got)
	}
}

func TestLeaving(t *testing.T) {
	l := newLab(t)
	l.running(record(0, me, 5, addr(0, 0)), record(1, me, 6, addr(1, 0)))
	l.want(keep.RefuseGrants{}, "")
	l.views[1], l.views[2] = connected(5, addr(0, 0)), connected(6, addr(1, 0))
	got := l.renew(record(0, me, 7, addr(0, 1)), record(1, "w2", 9, addr(1, 1)), record(2, me, 3, addr(1, 0)))
	if want := "observe; hint status; send 1 newer 7; send 2 newer 9; wake 10ms"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	l.want(keep.Drain{}, "send 1 drain 0; send 2 drain 0")
}

// world draws what a store may hold and what the holders may be doing.
type world struct {
	random *rand.Rand
	l      *lab
}

func (w *world) records() []lease.Record {
	var out []lease.Record
	for index := range tunnel.ConnIndex(4) {
		if w.random.IntN(5) == 0 {
			continue
		}
		worker := []tunnel.WorkerID{me, me, "w2", ""}[w.random.IntN(4)]
		r := record(index, worker, tunnel.Epoch(1+w.random.IntN(30)), addr(w.random.IntN(2), w.random.IntN(2)))
		r.Live = worker != "" && w.random.IntN(4) > 0
		r.Status.State = []lease.State{lease.StateGranted, lease.StateConnecting, lease.StateConnected, lease.StateFailed}[w.random.IntN(4)]
		out = append(out, r)
	}
	return out
}

// live changes what the holders are doing, and ends some.
func (w *world) live() {
	phases := map[lease.Phase]lease.State{
		lease.PhaseWaiting: lease.StateConnecting, lease.PhaseDialing: lease.StateConnecting, lease.PhaseConnected: lease.StateConnected,
		lease.PhaseSuperseded: lease.StateConnected, lease.PhaseDraining: lease.StateDraining, lease.PhaseParked: lease.StateFailed,
	}
	list := []lease.Phase{
		lease.PhaseWaiting, lease.PhaseDialing, lease.PhaseConnected, lease.PhaseSuperseded, lease.PhaseDraining, lease.PhaseParked,
	}
	for _, h := range w.l.m.Holders() {
		if w.random.IntN(6) == 0 {
			w.l.step(keep.HolderEnded{Holder: h.Holder})
			w.l.step(keep.Released{Holder: h.Holder})
			delete(w.l.views, h.Holder)
			continue
		}
		p := list[w.random.IntN(len(list))]
		w.l.views[h.Holder] = view(p, phases[p], tunnel.Epoch(1+w.random.IntN(30)), addr(w.random.IntN(2), w.random.IntN(2)))
	}
}

// TestRecordsAreLevelTriggered: the order of the records does not matter, and the same records again start and grant nothing.
func TestRecordsAreLevelTriggered(t *testing.T) {
	for seed := range uint64(200) {
		run := func(shuffle bool) (texts []string) {
			w := &world{random: rand.New(rand.NewPCG(seed, 1)), l: newLab(t)}
			order := rand.New(rand.NewPCG(seed, 2))
			mix := func(records []lease.Record) []lease.Record {
				if shuffle {
					order.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
				}
				return records
			}
			texts = append(texts, w.l.running(mix(w.records())...))
			for range 30 {
				w.live()
				records := w.records()
				w.l.step(keep.Woken{})
				w.l.after(lease.RenewEvery)
				for _, e := range []keep.Event{keep.Timer{}, keep.Identified{Connector: connector}, keep.PoolRead{Pool: pool(2, 2)}} {
					if actions, err := w.l.m.Step(w.l.now, e); err == nil {
						texts = append(texts, describe(actions[len(actions)-1]))
					}
				}
				first := w.l.step(keep.Renewed{Table: lease.Table{Records: mix(records)}})
				before := holders(w.l.m)
				w.l.after(lease.RenewEvery)
				for _, e := range []keep.Event{keep.Timer{}, keep.Identified{Connector: connector}, keep.PoolRead{Pool: pool(2, 2)}} {
					_, _ = w.l.m.Step(w.l.now, e) // the pool is read before some renewals only
				}
				again := w.l.step(keep.Renewed{Table: lease.Table{Records: mix(records)}})
				if strings.Contains(again, "start") || strings.Contains(again, "granted") || holders(w.l.m) != before {
					t.Fatalf("seed %d: the same records again: %s, holders %s before and %s after", seed, again, before, holders(w.l.m))
				}
				for _, word := range strings.Split(again, "; ") {
					if strings.HasPrefix(word, "send") && !strings.Contains(first, word) {
						t.Fatalf("seed %d: %q came only with the same records again; first: %s", seed, word, first)
					}
				}
				texts = append(texts, first, again)
			}
			return texts
		}
		if diff := cmp.Diff(run(false), run(true)); diff != "" {
			t.Fatalf("seed %d: the order of the records matters:\n%s", seed, diff)
		}
	}
}

// TestGrantsSeenLateAreSpaced: of grants that are seen together two start at once, or one if they are late, and the others a second
// after the one before.
func TestGrantsSeenLateAreSpaced(t *testing.T) {
	l := newLab(t)
	l.running()
	var records []lease.Record
	for i := range 4 {
		r := record(tunnel.ConnIndex(i), me, 5, addr(i%2, i/2))
		r.Wait = time.Duration(i-3) * time.Second // the last one starts now, by the store
		records = append(records, r)
	}
	records[1].Wait = time.Minute // a wait of its own counts in full
	waits := func(records ...lease.Record) (list []time.Duration) {
		t.Helper()
		l.after(2 * time.Second).step(keep.Timer{})
		actions, err := l.m.Step(l.now, keep.Renewed{Table: lease.Table{Records: records}})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range actions {
			switch a := a.(type) {
			case keep.Start:
				l.views[a.Holder] = hold.View{}
			case keep.Send:
				if a.Event.Kind != lease.EventGranted {
					continue
				}
				list = append(list, a.Event.Grant.Wait)
			}
		}
		return list
	}
	if got, want := waits(records...), []time.Duration{0, time.Minute, 2 * time.Second, 3 * time.Second}; !slices.Equal(got, want) {
		t.Errorf("waits %v, want %v", got, want)
	}
	l.after(time.Minute)
	again := record(0, me, 6, addr(0, 0))
	if got := waits(again); !slices.Equal(got, []time.Duration{0}) {
		t.Errorf("a minute later: %v, want none", got)
	}
	var soon []lease.Record
	for i := range 3 {
		r := record(tunnel.ConnIndex(i), me, 7, addr(i%2, i/2))
		r.Wait = -100 * time.Millisecond
		soon = append(soon, r)
	}
	if got, want := waits(soon...), []time.Duration{0, 0, time.Second}; !slices.Equal(got, want) {
		t.Errorf("seen soon: waits %v, want %v", got, want)
	}
}
