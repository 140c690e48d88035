package command_test

import (
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// TestListed: a record that is not sent again is the one that was read before, and what cannot be read makes the next request ask for all.
func TestListed(t *testing.T) {
	var l command.Listed
	steps := []struct {
		what, seen string
		reply      []any
		workers    string
		bad        bool
	}{
		{"two records", "0", []any{"5", "0", "7", "b", `{"worker_id":"b","host":"1"}`, "a", `{"worker_id":"a","host":"1"}`}, "a1 b1", false},
		{
			"one changed, one is new", "7",
			[]any{"5", "0", "8", "b", `{"worker_id":"b","host":"2"}`, "a", "", "c", `{"worker_id":"c"}`},
			"a1 b2 c", false,
		},
		{"one has ended", "8", []any{"5", "0", "8", "b", "", "c", ""}, "b2 c", false},
		{"one that ended before is not known", "8", []any{"5", "0", "8", "b", "", "a", ""}, "b2", true},
		{"one cannot be read", "0", []any{"5", "0", "9", "b", `{"worker_id":"b","host":"3"}`, "a", `{`}, "b3", true},
		{"all again", "0", []any{"5", "0", "9", "b", `{"worker_id":"b","host":"4"}`}, "b4", false},
		{"no revision", "9", []any{"5", "0", "?", "b", ""}, "b4", false},
	}
	for _, s := range steps {
		r := l.Fleet(3)
		if r.Args[0] != "3" || r.Args[1] != s.seen {
			t.Errorf("%s: asked with %v, want 3 and %s", s.what, r.Args, s.seen)
		}
		got, err := r.Decode(s.reply)
		var names []string
		for _, w := range got.Workers {
			names = append(names, string(w.ID)+w.Host)
		}
		if text := strings.Join(names, " "); text != s.workers || (err != nil) != s.bad {
			t.Errorf("%s: got %s, %v, want %s", s.what, text, err, s.workers)
		}
	}
	if got := l.Fleet(0).Args[1]; got != "0" {
		t.Errorf("after a reply without a revision: asked with %s, want 0", got)
	}
}
