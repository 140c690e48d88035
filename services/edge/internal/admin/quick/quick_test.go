package quick

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestNames(t *testing.T) {
	for _, list := range []string{adjectives, nouns} {
		words := strings.Fields(list)
		if len(words) != 1<<wordBits || len(slices.Compact(slices.Sorted(slices.Values(words)))) != len(words) {
			t.Errorf("%d words, want %d different ones", len(words), 1<<wordBits)
		}
	}
	if got := name([nameBytes]byte{0, 0x80, 0xff, 127}); got != "able-acorn-sunny-willow" {
		t.Errorf("name = %s", got)
	}
}

func FuzzName(f *testing.F) {
	f.Add(byte(0), byte(1), byte(2), byte(3))
	valid := regexp.MustCompile(`^[a-z]+(-[a-z]+){3}$`)
	f.Fuzz(func(t *testing.T, a, b, c, d byte) {
		if got := name([nameBytes]byte{a, b, c, d}); !valid.MatchString(got) || len(got) > 63 {
			t.Errorf("%q is not a host label of four words", got)
		}
	})
}

func TestLimits(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimiter(5, 2)
	one, same, two, three := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("192.0.2.1"),
		netip.MustParseAddr("192.0.2.2")
	for i, step := range []struct {
		addr  netip.Addr
		after time.Duration
		want  bool
	}{
		{one, 0, true},
		{same, 0, true},
		{one, 0, false}, // the /64 has used up its share
		{two, 0, true},
		{two, 0, true},
		{three, 0, true},
		{three, 0, false}, // the total is used up
		{one, 30 * time.Second, true},
		{one, 30 * time.Second, false},
		{two, 60 * time.Second, true},
	} {
		if got := l.allow(step.addr, now.Add(step.after)); got != step.want {
			t.Errorf("step %d: %v after %v: %v, want %v", i, step.addr, step.after, got, step.want)
		}
	}
}

func TestRememberedNetworksAreBounded(t *testing.T) {
	l := newLimiter(1e6, 1)
	now := time.Unix(1e9, 0)
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxNetworks {
		l.allow(addr, now)
		addr = addr.Next()
	}
	if n := len(l.recent) + len(l.older); n > 2*maxNetworks {
		t.Errorf("%d networks are remembered, want at most %d", n, 2*maxNetworks)
	}
}

func TestAbsences(t *testing.T) {
	id := func(b byte) tunnel.ID { return tunnel.ID{b} }
	start := time.Unix(1e9, 0)
	a := make(absences)
	connected := map[tunnel.ID]bool{}
	step := func(after time.Duration, all []tunnel.ID, want ...tunnel.ID) {
		t.Helper()
		got := a.expired(all, func(id tunnel.ID) bool { return connected[id] }, start.Add(after), time.Minute)
		if !slices.Equal(got, want) {
			t.Errorf("after %v: %v have expired, want %v", after, got, want)
		}
	}
	step(0, []tunnel.ID{id(1), id(2)})
	connected[id(2)] = true
	step(59*time.Second, []tunnel.ID{id(1), id(2)})
	step(time.Minute, []tunnel.ID{id(1), id(2), id(3)}, id(1))
	connected[id(2)] = false
	step(119*time.Second, []tunnel.ID{id(2), id(3)})
	step(2*time.Minute, []tunnel.ID{id(2), id(3)}, id(2), id(3))
	step(3*time.Minute, nil)
	if len(a) != 0 {
		t.Errorf("%d tunnels that do not exist are remembered", len(a))
	}
}

func TestValidate(t *testing.T) {
	c := Default()
	c.Domain = "no port"
	if err := c.Validate(); err != nil {
		t.Errorf("a service that is not opened: %v", err)
	}
	c.Listen, c.MaxTunnels, c.PerMinute, c.PerMinutePerAddress, c.KeepFor = netip.MustParseAddrPort("127.0.0.1:0"), 0, -1, 0, 0
	err := c.Validate()
	for _, want := range []string{"domain", "max_tunnels", "per_minute: ", "per_minute_per_address", "keep_for"} {
		if err == nil || !strings.Contains(err.Error(), "quick: "+want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	c = Default()
	c.Listen, c.Domain = netip.MustParseAddrPort("127.0.0.1:0"), "quick.example.com"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}
