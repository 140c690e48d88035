package ratelimit_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/zone/ratelimit"
)

func TestResponsesToOneNetworkAreLimited(t *testing.T) {
	t.Parallel()
	l, now := ratelimit.New(10), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	victim, neighbour, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("198.51.100.1")
	var got [3]int
	for i := range 120 {
		from := victim
		if i%2 == 1 {
			from = neighbour
		}
		got[l.Decide(from, now)]++
	}
	if want := [3]int{20, 50, 50}; got != want {
		t.Errorf("sent, truncated, dropped = %v, want %v", got, want)
	}
	if d := l.Decide(other, now); d != ratelimit.Send {
		t.Errorf("response to another network = %v, want it sent", d)
	}
	got = [3]int{}
	for range 20 {
		got[l.Decide(victim, now.Add(time.Second))]++
	}
	if got[ratelimit.Send] != 10 {
		t.Errorf("%d responses were sent after a second, want 10", got[ratelimit.Send])
	}
}

func TestManyNetworksUseBoundedMemoryAndKeepTheLimit(t *testing.T) {
	t.Parallel()
	l, now := ratelimit.New(1), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	victim := netip.MustParseAddr("2001:db8::1")
	for range 2 {
		if l.Decide(victim, now) != ratelimit.Send {
			t.Fatal("a response within the burst was not sent")
		}
	}
	for i := range 40000 {
		l.Decide(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), now)
	}
	if l.Decide(victim, now) == ratelimit.Send {
		t.Error("the limit of a network was forgotten while it was in use")
	}
}

func FuzzDecide(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, int64(5))
	f.Fuzz(func(t *testing.T, b []byte, step int64) {
		a, _ := netip.AddrFromSlice(b)
		l, now := ratelimit.New(5), time.Unix(0, 0)
		for range 20 {
			if d := l.Decide(a, now); d > ratelimit.Drop {
				t.Fatalf("Decide = %d", d)
			}
			now = now.Add(time.Duration(step))
		}
	})
}
