package fleet_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestOneStreamPerConnector(t *testing.T) {
	one, two := tunnel.ConnectorID{1}, tunnel.ConnectorID{2}
	mine := fleet.Tail{Session: "b", Connector: one, Actor: "me"}
	for name, tc := range map[string]struct {
		all      []fleet.Tail
		allowed  bool
		replaces []string
		verdict  fleet.Verdict
	}{
		"alone":             {nil, true, nil, fleet.Stay},
		"itself":            {[]fleet.Tail{mine}, true, nil, fleet.Stay},
		"another connector": {[]fleet.Tail{{Session: "a", Connector: two, Actor: "you"}}, true, nil, fleet.Stay},
		"another tunnel":    {[]fleet.Tail{{Session: "a", Tunnel: tunnel.ID{1}, Connector: one, Actor: "you"}}, true, nil, fleet.Stay},
		"another actor":     {[]fleet.Tail{{Session: "a", Connector: one, Actor: "you"}}, false, nil, fleet.Yield},
		"a later one":       {[]fleet.Tail{{Session: "c", Connector: one, Actor: "you"}}, false, nil, fleet.Stay},
		"the same actor":    {[]fleet.Tail{{Session: "a", Connector: one, Actor: "me"}}, true, []string{"a"}, fleet.Stay},
		"replaced": {
			[]fleet.Tail{{Session: "c", Connector: one, Actor: "me", Replaces: []string{"b"}}}, true, []string{"c"}, fleet.Replaced,
		},
	} {
		c := mine
		if got := c.Claim(tc.all); got != tc.allowed {
			t.Errorf("%s: Claim = %v", name, got)
		}
		if diff := cmp.Diff(tc.replaces, c.Replaces); diff != "" {
			t.Errorf("%s: replaces (-want +got):\n%s", name, diff)
		}
		if tc.verdict == fleet.Replaced {
			c.Replaces = nil // it began before the other one
		}
		if got := c.Judge(tc.all); got != tc.verdict {
			t.Errorf("%s: Judge = %v, want %v", name, got, tc.verdict)
		}
	}
}
