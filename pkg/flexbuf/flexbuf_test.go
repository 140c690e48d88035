package flexbuf_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/flexbuf"
)

const small, large = 4 << 10, 32 << 10

func TestSizeFollowsTheReads(t *testing.T) {
	var p flexbuf.Pool
	b := p.Buffer()
	defer b.Free()
	for i, step := range []struct{ took, want int }{
		{0, small},
		{1, small},
		{small/2 - 1, small},
		{small * 3 / 4, large},
		{large, large},
		{small, large},
		{small / 2, large},
		{small/2 - 1, small},
		{small / 2, small},
		{small, large},
		{0, small},
	} {
		b.Took(step.took)
		if got := len(b.Next()); got != step.want {
			t.Errorf("step %d: %d bytes after a read of %d, want %d", i, got, step.took, step.want)
		}
	}
}

// No other buffer may get the memory that Next gave before the next call.
func TestMemoryStaysUntilTheNextCall(t *testing.T) {
	p := &flexbuf.Pool{Large: large}
	a := p.Buffer()
	held := a.Next()
	a.Took(len(held))
	others := make([]flexbuf.Buffer, 8)
	for i := range others {
		others[i] = p.Buffer()
		if n := others[i].Next(); &n[0] == &held[0] {
			t.Fatal("the memory was given out while it was in use")
		}
	}
	for i := range others {
		others[i].Free()
		others[i].Free()
	}
	a.Free()
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	p := &flexbuf.Pool{Large: large}
	b := p.Buffer()
	defer b.Free()
	if n := testing.AllocsPerRun(100, func() {
		b.Took(len(b.Next()))
		b.Took(len(b.Next()))
		b.Took(1)
		b.Next()
	}); n > 1 { // the race detector empties pools at random
		t.Errorf("%v allocations", n)
	}
}
