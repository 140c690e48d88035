package outage_test

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/outage"
)

// Each step is a look at the store after so many seconds, and whether it is told.
func TestNotices(t *testing.T) {
	type look struct {
		at       int
		up, news bool
		want     bool
	}
	for name, looks := range map[string][]look{
		"one outage is told once":  {{0, false, true, true}, {1, false, false, false}, {99, false, false, false}, {100, true, true, true}},
		"another reason is told":   {{0, false, true, true}, {1, false, true, true}, {2, false, false, false}},
		"single outages all count": {{0, false, true, true}, {1, true, true, true}, {90, false, true, true}, {91, true, true, true}},
		"the fourth in a minute is not told, nor its end": {
			{0, false, true, true},
			{1, true, true, true},
			{2, false, true, true},
			{3, true, true, true},
			{4, false, true, true},
			{5, true, true, true},
			{6, false, true, false},
			{7, false, false, false},
			{8, true, true, false},
			{9, false, true, false},
			{10, true, true, false},
			{61, false, true, true},
			{62, true, true, true},
		},
		"one that lasts is told late": {
			{0, false, true, true},
			{2, false, true, true},
			{4, false, true, true},
			{6, false, true, false},
			{60, false, false, false},
			{61, false, false, true},
			{62, false, false, false},
			{70, true, true, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var n outage.Notices
			start := time.Unix(1e9, 0)
			for _, l := range looks {
				var got bool
				if l.up {
					got = n.Up()
				} else {
					got = n.Down(start.Add(time.Duration(l.at)*time.Second), l.news)
				}
				if got != l.want {
					t.Fatalf("%+v: told %v", l, got)
				}
			}
		})
	}
}
