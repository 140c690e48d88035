package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// testTokens: tokens come back with their last use, until they are removed.
func testTokens(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id := open(t), unique(t)
	want := opstoken.Token{
		ID: id, Name: "ci", Scope: opstoken.Operate, Hash: fmt.Sprintf("%064d", 7), Created: time.Unix(1_700_000_000, 0).UTC(),
	}
	wantError(t, "PutToken", s.PutToken(t.Context(), want), nil)
	want.Used = time.UnixMilli(1_700_000_123_000).UTC()
	wantError(t, "UseToken", s.UseToken(t.Context(), id, want.Used), nil)
	find := func() (found []opstoken.Token) {
		all, err := s.Tokens(t.Context())
		wantError(t, "Tokens", err, nil)
		for _, k := range all {
			if k.ID == id {
				found = append(found, k)
			}
		}
		return found
	}
	if diff := cmp.Diff([]opstoken.Token{want}, find()); diff != "" {
		t.Errorf("Tokens (-want +got):\n%s", diff)
	}
	for _, there := range []bool{true, false} {
		if removed, err := s.RemoveToken(t.Context(), id); err != nil || removed != there {
			t.Errorf("RemoveToken = %v, %v, want %v", removed, err, there)
		}
	}
	if found := find(); len(found) > 0 {
		t.Errorf("Tokens after it was removed: %+v", found)
	}
}

// testJournal: entries come back in order from both ends, in pages, and the oldest go.
func testJournal(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, journal := open(t), unique(t)
	var ids []string
	for i := range 5 {
		id, err := s.Append(t.Context(), journal, fmt.Sprintf(`{"n":%d}`, i), 4)
		wantError(t, "Append", err, nil)
		ids = append(ids, id)
	}
	all, err := s.After(t.Context(), journal, "", 10)
	if err != nil || len(all) != 4 || all[0].ID != ids[1] || all[3].ID != ids[4] || all[3].Body != `{"n":4}` {
		t.Errorf("After = %+v, %v", all, err)
	}
	if page, err := s.After(t.Context(), journal, ids[2], 1); err != nil || len(page) != 1 || page[0].ID != ids[3] {
		t.Errorf("After the third = %+v, %v", page, err)
	}
	if page, err := s.Before(t.Context(), journal, ids[3], 1); err != nil || len(page) != 1 || page[0].ID != ids[2] {
		t.Errorf("Before the fourth = %+v, %v", page, err)
	}
	if page, err := s.Before(t.Context(), journal, "", 1); err != nil || len(page) != 1 || page[0].ID != ids[4] {
		t.Errorf("Before = %+v, %v", page, err)
	}
}

// testOnce: one of several requests with a key is carried out.
func testOnce(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, key := open(t), unique(t)
	_, err := s.Claimed(t.Context(), key)
	wantError(t, "Claimed before", err, tunnel.ErrNotFound)
	for _, first := range []bool{true, false} {
		if won, err := s.Claim(t.Context(), key, "runs", time.Hour); err != nil || won != first {
			t.Errorf("Claim = %v, %v, want %v", won, err, first)
		}
	}
	wantError(t, "Settle", s.Settle(t.Context(), key, "done", time.Hour), nil)
	if text, err := s.Claimed(t.Context(), key); err != nil || text != "done" {
		t.Errorf("Claimed = %q, %v", text, err)
	}
	wantError(t, "Unclaim", s.Unclaim(t.Context(), key), nil)
	if won, err := s.Claim(t.Context(), key, "runs", time.Hour); err != nil || !won {
		t.Errorf("Claim after Unclaim = %v, %v", won, err)
	}
}
