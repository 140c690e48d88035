package keep_test

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
)

// While the pool stays exhausted, requests come less and less often; a recovery starts again, without a burst.
func TestAsker(t *testing.T) {
	var a keep.Asker
	start := time.Unix(1000, 0)
	var sent []int
	for second := range 1000 {
		if a.Ask(start.Add(time.Duration(second)*time.Second), true) {
			sent = append(sent, second)
		}
	}
	if want := []int{0, 10, 30, 70, 150, 310, 610, 910}; !slices.Equal(sent, want) {
		t.Errorf("requests at %v, want %v", sent, want)
	}
	sent = nil
	var b keep.Asker
	for second := range 60 {
		if b.Ask(start.Add(time.Duration(second)*time.Second), second%2 == 0) {
			sent = append(sent, second)
		}
	}
	if want := []int{0, 10, 20, 30, 40, 50}; !slices.Equal(sent, want) {
		t.Errorf("requests of a pool that comes and goes at %v, want %v", sent, want)
	}
}
