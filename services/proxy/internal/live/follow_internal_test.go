package live

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// fakeStore has one tunnel, and keeps what is reported.
type fakeStore struct {
	err      error
	version  uint64
	history  rules.History
	reported []rules.Result
	notes    map[string]rules.Stored
	calls    int // of NoteRules
}

var one = tunnel.ID{1}

func (s *fakeStore) RuleHeads(_ context.Context, known uint64) (rules.Heads, error) {
	if s.err != nil || s.version == known {
		return rules.Heads{Same: true, Version: known}, s.err
	}
	v, _ := s.history.Newest()
	return rules.Heads{Version: s.version, Tunnels: map[tunnel.ID]uint64{one: v.Number}}, nil
}

func (s *fakeStore) Rules(context.Context, tunnel.ID, uint64) (rules.History, error) {
	return s.history, s.err
}

func (s *fakeStore) ReportRules(_ context.Context, _ tunnel.ID, r rules.Result) error {
	s.reported = append(s.reported, r)
	return s.err
}

func (s *fakeStore) NoteRules(_ context.Context, id tunnel.ID, v rules.Stored) (uint64, error) {
	s.calls++
	k := id.String() + string(v.Source) + v.Hash
	if s.err != nil {
		return 0, s.err
	}
	if _, known := s.notes[k]; !known && v.Sealed == "" {
		return 0, nil
	}
	if v.Sealed != "" {
		s.notes[k] = v
	}
	return 1, nil
}

func (s *fakeStore) Watch(context.Context, ...string) <-chan struct{} { return nil }

// fakeState takes what is newer.
type fakeState struct {
	positions map[tunnel.ID]rules.Position
	seen      map[tunnel.ID]Seen
}

func (s *fakeState) Seen() map[tunnel.ID]Seen { return s.seen }

func (s *fakeState) ApplyVersion(_ context.Context, id tunnel.ID, at rules.Position, _ []byte) (rules.Position, error) {
	if now, found := s.positions[id]; !found || at.Replaces(now) {
		s.positions[id] = at
	}
	return s.positions[id], nil
}

func (s *fakeState) Positions() map[tunnel.ID]rules.Position {
	out := map[tunnel.ID]rules.Position{}
	for id, p := range s.positions {
		out[id] = p
	}
	return out
}

func (s *fakeState) Changed() <-chan struct{} { return nil }

// TestLook: the follower takes each version once, tells what is in force when that changes, says why a version that an edge's push
// overtook is not, does not go back with a store that lost data, and tells that store again what it has.
func TestLook(t *testing.T) {
	key, err := rules.NewKey(bytes.Repeat([]byte("k"), rules.MinKey))
	if err != nil {
		t.Fatal(err)
	}
	store, state := &fakeStore{}, &fakeState{positions: map[tunnel.ID]rules.Position{}}
	f := newFollower("p", store, state, key, slog.New(slog.DiscardHandler))
	at := func(push int32, number uint64) rules.Position { return rules.Position{Push: push, Number: number} }
	newest := func(version uint64, p rules.Position) {
		store.version = version
		store.history.Versions = []rules.Stored{{Head: rules.Head{Position: p}, Sealed: key.Seal(one, p, []byte("{}"))}}
	}
	expect := func(step string, want ...rules.Result) {
		t.Helper()
		store.reported = nil
		for range 2 { // nothing new the second time
			if err := f.look(t.Context()); err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
		for i, r := range store.reported {
			if r.Error != "" {
				_, store.reported[i].Error, _ = strings.Cut(r.Error, "apply it ")
			}
		}
		if diff := cmp.Diff(want, store.reported); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	expect("nothing")
	newest(10, at(-1, 10))
	store.err = errors.New("gone")
	if err := f.look(t.Context()); !errors.Is(err, store.err) || len(state.positions) != 0 {
		t.Errorf("without the store: %v, %v", err, state.positions)
	}
	store.err = nil
	expect("a version", rules.Result{Proxy: "p", InForce: at(-1, 10)})
	state.positions[one] = at(4, 0)
	expect("a push", rules.Result{Proxy: "p", InForce: at(4, 0)})
	newest(20, at(3, 20))
	expect("a version made before the push", rules.Result{Proxy: "p", InForce: at(4, 0), Tried: 20, Error: "again to put it on top"})
	newest(30, at(4, 30))
	expect("a version on top of it", rules.Result{Proxy: "p", InForce: at(4, 30)})
	newest(15, at(-1, 15))
	store.version = 25
	store.reported = nil
	if err := f.look(t.Context()); err != nil || state.positions[one] != at(4, 30) {
		t.Errorf("a store that lost data: %v, %v", err, state.positions)
	}
	if n := len(store.reported); n != 1 || store.reported[0].InForce != at(4, 30) {
		t.Errorf("reported to a store that lost data: %+v", store.reported)
	}
}

// TestNote: what came another way than through the store is noted there once, whatever it was before, and the result has its hash.
func TestNote(t *testing.T) {
	key, err := rules.NewKey(bytes.Repeat([]byte("k"), rules.MinKey))
	if err != nil {
		t.Fatal(err)
	}
	store := &fakeStore{notes: map[string]rules.Stored{}}
	state := &fakeState{positions: map[tunnel.ID]rules.Position{}, seen: map[tunnel.ID]Seen{}}
	f := newFollower("p", store, state, key, slog.New(slog.DiscardHandler))
	a := &Document{Source: rules.SourceFile, Push: -1, Text: []byte("a")}
	b := &Document{Source: rules.SourceFile, Push: -1, Text: []byte("b")}
	large := &Document{Source: rules.SourcePush, Push: 4, Text: bytes.Repeat([]byte("x"), rules.MaxDocument+1)}
	step := func(name string, seen Seen, at rules.Position, wantCalls, wantNotes int, inForce *Document) {
		t.Helper()
		state.seen[one], state.positions[one] = seen, at
		store.calls = 0
		for range 3 {
			if err := f.look(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if store.calls != wantCalls || len(store.notes) != wantNotes {
			t.Errorf("%s: %d calls and %d notes, want %d and %d", name, store.calls, len(store.notes), wantCalls, wantNotes)
		}
		if got := store.reported[len(store.reported)-1]; got.Hash != key.Hash(inForce.Text) {
			t.Errorf("%s: reported %+v, want the hash of %.1s", name, got, inForce.Text)
		}
	}
	step("local rules", Seen{Local: a}, rules.Local(), 2, 1, a)
	step("others", Seen{Local: b}, rules.Local(), 2, 2, b)
	step("the first again", Seen{Local: a}, rules.Local(), 1, 2, a)
	step("a push that is too large to keep", Seen{Local: a, Pushed: large}, rules.Position{Push: 4}, 1, 2, large)
	for _, v := range store.notes {
		if text, err := key.Open(one, v.SealedFor(), v.Sealed); err != nil || v.Author != "p" || v.Hash != key.Hash(text) {
			t.Errorf("a note of %q: %+v, %v", text, v.Head, err)
		}
	}
}
