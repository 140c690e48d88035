package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// testRules: configurations are written by compare-and-set, their numbers grow, and only the document that is asked for is read.
func testRules(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id := open(t), newTunnel(t)
	put := func(expect uint64, head rules.Head, sealed string) uint64 {
		t.Helper()
		var at rules.Position
		n, err := s.PutRules(t.Context(), id, expect, head, func(p rules.Position) string { at = p; return sealed })
		if at.Number != n {
			t.Errorf("PutRules sealed the document for %+v and stored it as %d", at, n)
		}
		if err != nil || n <= expect {
			t.Fatalf("PutRules: number %d after %d, %v", n, expect, err)
		}
		return n
	}
	none, err := s.Rules(t.Context(), id, 0)
	if diff := cmp.Diff(rules.History{Push: -1}, none); err != nil || diff != "" {
		t.Fatalf("Rules of a new tunnel: %v (-want +got):\n%s", err, diff)
	}
	first := put(0, rules.Head{Author: "ann", Hash: "a"}, "one")
	_, err = s.PutRules(t.Context(), id, 0, rules.Head{}, func(rules.Position) string { return "x" })
	wantError(t, "PutRules over a version that was not seen", err, tunnel.ErrConflict)
	wantError(t, "ReportRules", s.ReportRules(t.Context(), id, rules.Result{Proxy: "p1", InForce: rules.Position{Push: 4}}), nil)
	second := put(first, rules.Head{Author: "bob", RestoredFrom: first}, "two")
	want := rules.History{Push: 4, Versions: []rules.Stored{
		{Head: rules.Head{Position: rules.Position{Push: -1, Number: first}, Author: "ann", Hash: "a", Source: rules.SourceAPI}},
		{
			Head:   rules.Head{Position: rules.Position{Push: 4, Number: second}, Author: "bob", RestoredFrom: first, Source: rules.SourceAPI},
			Sealed: "two",
		},
	}, Results: []rules.Result{{Proxy: "p1", InForce: rules.Position{Push: 4}}}}
	ignore := cmp.Options{cmpopts.IgnoreFields(rules.Head{}, "Changed"), cmpopts.IgnoreFields(rules.Result{}, "Changed")}
	got, err := s.Rules(t.Context(), id, 0)
	if diff := cmp.Diff(want, got, ignore); err != nil || diff != "" || got.Versions[1].Changed.IsZero() || got.Results[0].Changed.IsZero() {
		t.Errorf("Rules: %v (-want +got):\n%s", err, diff)
	}
	want.Versions[0].Sealed, want.Versions[1].Sealed = "one", ""
	got, err = s.Rules(t.Context(), id, first)
	if diff := cmp.Diff(want, got, ignore); err != nil || diff != "" {
		t.Errorf("Rules of the first: %v (-want +got):\n%s", err, diff)
	}
	want.Versions[0].Sealed = ""
	got, err = s.RuleHistory(t.Context(), id)
	if diff := cmp.Diff(want, got, ignore); err != nil || diff != "" {
		t.Errorf("RuleHistory: %v (-want +got):\n%s", err, diff)
	}
	wantResealed(t, s, id, first)
	wantHead(t, s, id, second)
}

// wantResealed seals the first version anew, and no other one.
func wantResealed(t *testing.T, s *redisstore.Store, id tunnel.ID, first uint64) {
	t.Helper()
	wantError(t, "ResealRules", s.ResealRules(t.Context(), id, first, "one", "eins"), nil)
	wantError(t, "ResealRules of another document", s.ResealRules(t.Context(), id, first, "one", "un"), tunnel.ErrConflict)
	wantError(t, "ResealRules of no version", s.ResealRules(t.Context(), id, first+1, "one", "un"), tunnel.ErrConflict)
	got, err := s.Rules(t.Context(), id, first)
	if err != nil || got.Versions[0].Sealed != "eins" || got.Versions[0].Author != "ann" {
		t.Errorf("Rules after ResealRules: %+v, %v", got.Versions, err)
	}
}

// wantHead checks which version proxies are to follow.
func wantHead(t *testing.T, s *redisstore.Store, id tunnel.ID, version uint64) {
	t.Helper()
	heads, err := s.RuleHeads(t.Context(), 0)
	if err != nil || heads.Same || heads.Tunnels[id] != version {
		t.Errorf("RuleHeads: %+v, %v, want %d", heads, err, version)
	}
}

// testRuleFloor: a number and a push that a proxy has seen stay the least, also where the store lost them, and old entries go first.
func testRuleFloor(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id := open(t), newTunnel(t)
	const seen = 1 << 50 // far beyond the time of the server in ms
	report := func(proxy string, push int32, number uint64) {
		t.Helper()
		if err := s.ReportRules(t.Context(), id, rules.Result{Proxy: proxy, InForce: rules.Position{Push: push, Number: number}}); err != nil {
			t.Fatal(err)
		}
	}
	report("p0", 7, seen)
	report("p0", 2, 1)
	last := uint64(0)
	for i := range rules.MaxVersions + 3 {
		n, err := s.PutRules(t.Context(), id, last, rules.Head{}, func(rules.Position) string { return fmt.Sprint(i) })
		if err != nil || n <= seen || n <= last {
			t.Fatalf("PutRules: number %d after %d and %d, %v", n, last, seen, err)
		}
		last = n
	}
	for i := range rules.MaxResults + 2 {
		report(fmt.Sprintf("p%d", i+1), 3, 0)
	}
	h, err := s.Rules(t.Context(), id, 0)
	if err != nil || h.Push != 7 || len(h.Versions) != rules.MaxVersions || len(h.Results) != rules.MaxResults {
		t.Fatalf("%v: push %d, %d versions, %d results", err, h.Push, len(h.Versions), len(h.Results))
	}
	if v, _ := h.Newest(); v.Number != last || v.Push != 7 || v.Sealed != fmt.Sprint(rules.MaxVersions+2) {
		t.Errorf("the newest is %+v, want number %d", v, last)
	}
	if _, found := h.Find(last - rules.MaxVersions); found {
		t.Error("the oldest was kept")
	}
	if slices.ContainsFunc(h.Results, func(r rules.Result) bool { return r.Proxy == "p0" }) {
		t.Error("the oldest result was kept")
	}
}

// noteOf notes a configuration that came another way than through the store, or with nothing sealed asks for it.
func noteOf(t *testing.T, s *redisstore.Store, id tunnel.ID, head rules.Head, sealed string) uint64 {
	t.Helper()
	head.Author = "p"
	n, err := s.NoteRules(t.Context(), id, rules.Stored{Head: head, Sealed: sealed})
	if err != nil {
		t.Fatalf("NoteRules: %v", err)
	}
	return n
}

// fromFile is the head of local rules with a hash.
func fromFile(hash string) rules.Head {
	return rules.Head{Position: rules.Local(), Source: rules.SourceFile, Hash: hash}
}

// testNotes: what came another way than through the store is noted once, gets a number in the order of all, and is never the newest
// version.
func testNotes(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id := open(t), newTunnel(t)
	if n := noteOf(t, s, id, fromFile("a"), ""); n != 0 {
		t.Errorf("one that is not known has number %d", n)
	}
	one := noteOf(t, s, id, fromFile("a"), "one")
	if again := noteOf(t, s, id, fromFile("a"), "other"); again != one || noteOf(t, s, id, fromFile("a"), "") != one || one == 0 {
		t.Errorf("the same again: number %d, want %d", again, one)
	}
	push := noteOf(t, s, id, rules.Head{Position: rules.Position{Push: 3}, Source: rules.SourcePush, Hash: "a"}, "three")
	version, err := s.PutRules(t.Context(), id, 0, rules.Head{}, func(rules.Position) string { return "v" })
	if err != nil || push <= one || version <= push {
		t.Fatalf("numbers %d, %d, %d, %v: want growing ones", one, push, version, err)
	}
	wantError(t, "ResealRules of a note", s.ResealRules(t.Context(), id, push, "three", "drei"), nil)
	wantError(t, "ResealRules of a note, back", s.ResealRules(t.Context(), id, push, "drei", "three"), nil)
	late := noteOf(t, s, id, rules.Head{Position: rules.Local(), Source: rules.SourceDocker, Hash: "b"}, "two")
	h, err := s.Rules(t.Context(), id, push)
	if err != nil || late <= version {
		t.Fatalf("number %d after %d, %v", late, version, err)
	}
	if v, _ := h.Newest(); v.Number != version || len(h.Versions) != 1 || len(h.Notes) != 3 {
		t.Errorf("the newest is %d, want %d; %d versions and %d notes", v.Number, version, len(h.Versions), len(h.Notes))
	}
	want := rules.Stored{
		Head:   rules.Head{Position: rules.Position{Push: 3, Number: push}, Author: "p", Hash: "a", Source: rules.SourcePush},
		Sealed: "three",
	}
	got, found := h.Find(push)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(rules.Head{}, "Changed")); diff != "" || !found || got.Changed.IsZero() {
		t.Errorf("the note (-want +got):\n%s", diff)
	}
	wantHead(t, s, id, version) // proxies follow versions only
}

// testNoteLimit: of many notes the last ones are kept, and no version goes for them.
func testNoteLimit(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id := open(t), newTunnel(t)
	if _, err := s.PutRules(t.Context(), id, 0, rules.Head{}, func(rules.Position) string { return "v" }); err != nil {
		t.Fatal(err)
	}
	for i := range rules.MaxNotes + 1 {
		noteOf(t, s, id, fromFile(fmt.Sprintf("c%d", i)), "x")
	}
	if h, err := s.Rules(t.Context(), id, 0); err != nil || len(h.Notes) != rules.MaxNotes || len(h.Versions) != 1 {
		t.Errorf("%v: %d notes, %d versions", err, len(h.Notes), len(h.Versions))
	}
	if n := noteOf(t, s, id, fromFile("c0"), ""); n != 0 {
		t.Errorf("one that was displaced is known as %d", n)
	}
}

// testRuleMoves: a report between the question for a position and the write makes the document be sealed for another one.
func testRuleMoves(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id := open(t), newTunnel(t)
	var sealed []rules.Position
	n, err := s.PutRules(t.Context(), id, 0, rules.Head{}, func(p rules.Position) string {
		if sealed = append(sealed, p); len(sealed) == 1 {
			report := rules.Result{Proxy: "p", InForce: rules.Position{Push: 5, Number: p.Number + 10}}
			wantError(t, "ReportRules", s.ReportRules(t.Context(), id, report), nil)
		}
		return fmt.Sprint(p)
	})
	h, herr := s.Rules(t.Context(), id, 0)
	v, _ := h.Newest()
	if err != nil || herr != nil || len(sealed) != 2 || v.Position != sealed[1] || v.Push != 5 || v.Number != n || n <= sealed[0].Number+10 ||
		v.Sealed != fmt.Sprint(sealed[1]) {
		t.Errorf("PutRules: %d, %v, %v, sealed for %v, stored %+v", n, err, herr, sealed, v)
	}
}
