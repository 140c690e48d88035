package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func proxies(ids string) []fleet.Proxy {
	var out []fleet.Proxy
	for id := range strings.FieldsSeq(ids) {
		name, draining := strings.CutSuffix(id, "!")
		out = append(out, fleet.Proxy{ID: tunnel.ProxyID(name), Draining: draining})
	}
	return out
}

func TestRoster(t *testing.T) {
	// Each step is what happened after so many seconds: a list ("x!" drains) or "away", and the proxies that are used then.
	type step struct {
		after int
		list  string
		want  string
	}
	for name, steps := range map[string][]step{
		"nobody yet":                            {{0, "", ""}, {1, "a", "a"}},
		"one that ran out is dropped":           {{0, "a b", "a b"}, {12, "a", "a"}},
		"an early absence changes nothing":      {{0, "a b", "a b"}, {3, "a", "a b"}, {12, "a", "a"}},
		"a drained one goes at once":            {{0, "a b", "a b"}, {1, "a b!", "a"}, {2, "a", "a"}},
		"the only one drains":                   {{0, "a", "a"}, {1, "a!", ""}},
		"all ran out during an outage":          {{0, "a b", "a b"}, {20, "away", ""}, {60, "", "a b"}, {62, "a", "a b"}, {63, "a b", "a b"}},
		"one never comes back after an outage":  {{0, "a b", "a b"}, {20, "away", ""}, {60, "a", "a b"}, {71, "a", "a"}},
		"the last one is kept for good":         {{0, "a", "a"}, {100, "", "a"}, {200, "", "a"}, {201, "b", "b"}},
		"a new address replaces the old record": {{0, "a", "a"}, {1, "a c", "a c"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := fleet.Roster{Settle: 10 * time.Second}
			start := time.Unix(1e9, 0)
			for _, s := range steps {
				if s.list == "away" {
					r.Missed()
					continue
				}
				var got []string
				for _, p := range r.Listed(start.Add(time.Duration(s.after)*time.Second), proxies(s.list)) {
					got = append(got, string(p.ID))
				}
				if g := strings.Join(got, " "); g != s.want {
					t.Fatalf("at %d s with %q listed: %q, want %q", s.after, s.list, g, s.want)
				}
			}
		})
	}
}
