package chaos_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/tests/chaos"
)

// sessions reads "a0@w1 b1@w2": id (its last digit is the index) and worker, all of one tunnel.
func sessions(s string) []chaos.Conn {
	var list []chaos.Conn
	for f := range strings.FieldsSeq(s) {
		id, worker, _ := strings.Cut(f, "@")
		list = append(list, chaos.Conn{
			ID: id, Worker: worker, Connector: "c", Slot: chaos.Slot{Tunnel: "t", Index: int(id[len(id)-1] - '0')},
		})
	}
	return list
}

func TestTimeline(t *testing.T) {
	var line chaos.Timeline
	for i, s := range []string{
		"a0@w1 a1@w1", // 0 s
		"a0@w1 a1@w1",
		"a1@w1", // 2 s: index 0 is lost
		"a1@w1",
		"b0@w2 a1@w1",       // 4 s: and back elsewhere
		"b0@w2 a1@w1 b1@w2", // 5 s: a planned move
		"b0@w2 b1@w2",
		"b0@w2", // 7 s: index 1 is lost
		"b0@w2",
	} {
		line.Saw(time.Duration(i)*time.Second, sessions(s))
	}
	slots := []chaos.Slot{{Tunnel: "t", Index: 0}, {Tunnel: "t", Index: 1}}
	got := line.Summary(time.Second, 8500*time.Millisecond, slots)
	want := chaos.Summary{
		Unserved: 2 * time.Second, Gap: 2 * time.Second, Gaps: 1, Worst: slots[0], Registrations: 2, PerSlot: 1, PerConnector: 2,
		Moves: 2, Began: 2, Kept: 0, Connectors: 1, Down: 1,
	}
	if got != want {
		t.Errorf("summary\n%+v, want\n%+v", got, want)
	}
	if got := line.Unchanged(); got != time.Second {
		t.Errorf("unchanged for %v, want 1s", got)
	}
	early := line.Summary(0, time.Second, slots)
	if early.Unserved != 0 || early.KeptPercent() != 100 || early.Registrations != 0 {
		t.Errorf("before the fault: %+v", early)
	}
	if got := new(chaos.Timeline).Summary(0, time.Second, slots); got.Down != 0 || got.KeptPercent() != 0 {
		t.Errorf("empty timeline: %+v", got)
	}
}
