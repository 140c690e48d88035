package api

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestManyStreams: a thousand streams that nobody reads keep little memory. They are ended, while another one gets everything, and the
// ones beyond the limit are refused.
func TestManyStreams(t *testing.T) {
	var h hub
	before := heap()
	slow := make([]*stream, maxWatchers-1)
	for i := range slow {
		slow[i] = h.join()
	}
	reader := h.join()
	if reader == nil || h.join() != nil {
		t.Fatal("the limit of streams is not kept")
	}
	for i := range 500 {
		id := fmt.Sprintf("%d-0", i+1)
		h.give([]frame{{id: id, text: []byte(strings.Repeat("x", 1000))}}, id)
		if f := <-reader.frames; f.id != id {
			t.Fatalf("event %s instead of %s", f.id, id)
		}
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	for _, s := range slow {
		n := 0
		for range s.frames { // ends, because the hub has closed it
			n++
		}
		if n != maxBehind {
			t.Fatalf("a slow stream got %d events before it was ended, want %d", n, maxBehind)
		}
	}
	h.end()
	if _, open := <-reader.frames; open || h.join() != nil {
		t.Error("a hub that has ended has streams")
	}
	h.leave(reader)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestRoster: who comes and goes is told once; who was there from the start, or is back soon, is not.
func TestRoster(t *testing.T) {
	start := time.Unix(1e9, 0)
	of := kinds{"joined", "draining", "left"}
	var got []string
	var r roster
	for _, step := range []struct {
		after int
		there map[string]bool
		want  []string
	}{
		{0, map[string]bool{"a": false, "b": false}, nil},
		{1, map[string]bool{"a": false, "b": false, "c": false}, []string{"joined c"}},
		{2, map[string]bool{"a": true, "c": false}, []string{"draining a"}},
		{3, map[string]bool{"a": true, "b": false, "c": false}, nil},
		{4, map[string]bool{"b": false}, nil},
		{20, map[string]bool{"b": false}, []string{"left a", "left c"}},
		{21, map[string]bool{"b": false, "c": false}, []string{"joined c"}},
	} {
		got = nil
		r.listed(start.Add(time.Duration(step.after)*time.Second), step.there, of, func(kind, id string) { got = append(got, kind+" "+id) })
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("after %d s: %s", step.after, diff)
		}
	}
}

func TestCompareIDs(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"9-0", "10-0", -1}, {"10-1", "10-2", -1}, {"10-10", "10-9", 1}, {"5-5", "5-5", 0}} {
		if got := compareIDs(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: %d", c.a, c.b, got)
		}
	}
}
