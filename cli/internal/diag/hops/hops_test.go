package hops_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/diag/hops"
)

func TestParse(t *testing.T) {
	const output = `traceroute to region1.v2.argotunnel.com (198.41.192.77), 5 hops max, 60 byte packets
 1  _gateway (192.0.2.1)  0.512 ms  0.490 ms  0.431 ms
 2  * * *
 3  198.51.100.7 (198.51.100.7)  4 ms *  5.5 ms
 4  2001:db8::1  12.001 ms  11.2 ms  NaN ms
 5  1.5 ms
x  y
999  a  1 ms

`
	want := []hops.Hop{
		{Hop: 1, Domain: "_gateway (192.0.2.1)", RTTs: []time.Duration{512, 490, 431}},
		{Hop: 2, Domain: "*"},
		{Hop: 3, Domain: "198.51.100.7 (198.51.100.7)", RTTs: []time.Duration{4000, 5500}},
		{Hop: 4, Domain: "2001:db8::1", RTTs: []time.Duration{12001, 11200}},
	}
	if diff := cmp.Diff(want, hops.Parse(output)); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	if got := hops.Parse(""); got != nil {
		t.Errorf("Parse of nothing = %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1  gw (192.0.2.1)  0.5 ms  * 0.6 ms\n2 * * *\n")
	f.Add("1 1e400 ms\n")
	f.Fuzz(func(t *testing.T, output string) {
		for _, h := range hops.Parse(output) {
			if h.Domain == "" {
				t.Errorf("a hop without a name in %q", output)
			}
			for _, rtt := range h.RTTs {
				if rtt < 0 {
					t.Errorf("a time of %v in %q", rtt, output)
				}
			}
		}
	})
}
