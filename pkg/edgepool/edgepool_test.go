package edgepool_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func addrs(texts ...string) []netip.AddrPort {
	all := make([]netip.AddrPort, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParseAddrPort(text)
	}
	return all
}

// sized makes a pool with regions of the given sizes; region i has addresses 10.0.i.x.
func sized(sizes ...int) edgepool.Pool {
	p := edgepool.Pool{Source: edgepool.SourceSRV}
	for i, n := range sizes {
		var all []netip.AddrPort
		for x := range n {
			all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(x)}), 7844))
		}
		p.Regions = append(p.Regions, edgepool.NewRegion(tunnel.Region(fmt.Sprintf("r%d", i)), all))
	}
	return p
}

func random(seed uint64) edgepool.Random { return rand.New(rand.NewPCG(seed, 1)).IntN }

func edge(region, text string) tunnel.EdgeAddr {
	return tunnel.EdgeAddr{Addr: netip.MustParseAddrPort(text), Region: tunnel.Region(region)}
}

func first(int) int { return 0 }

func TestAllocateCases(t *testing.T) {
	a, b := edge("r0", "10.0.0.0:7844"), edge("r1", "10.0.1.0:7844")
	dual := edgepool.Pool{Regions: []edgepool.RegionPool{
		edgepool.NewRegion("r0", addrs("[2001:db8::1]:1", "192.0.2.1:1")),
		edgepool.NewRegion("r1", addrs("192.0.2.2:1", "[2001:db8::2]:1")),
	}}
	held := func(h edgepool.Health, failures int, all ...tunnel.EdgeAddr) edgepool.Health {
		for _, addr := range all {
			for range failures {
				h = h.After(addr.Addr, tunnel.ReasonDial, epoch)
			}
		}
		return h
	}
	type used = map[tunnel.ConnIndex]tunnel.EdgeAddr
	cases := []struct {
		name    string
		table   edgepool.Table
		request edgepool.Request
		want    tunnel.EdgeAddr
		wantErr error
	}{
		{"empty pool", edgepool.Table{}, edgepool.Request{}, tunnel.EdgeAddr{}, tunnel.ErrNoAddress},
		{
			"all used",
			edgepool.Table{Pool: sized(1, 1), Used: used{0: a, 1: b}},
			edgepool.Request{Index: 2},
			tunnel.EdgeAddr{},
			tunnel.ErrNoAddress,
		},
		{"sticky", edgepool.Table{Pool: sized(3, 3)}, edgepool.Request{Sticky: b}, b, nil},
		{"own use is no obstacle", edgepool.Table{Pool: sized(1), Used: used{4: a}}, edgepool.Request{Index: 4, Sticky: a}, a, nil},
		{"sticky used by another", edgepool.Table{Pool: sized(1, 1), Used: used{1: a}}, edgepool.Request{Sticky: a}, b, nil},
		{"sticky left the pool", edgepool.Table{Pool: sized(1)}, edgepool.Request{Sticky: b}, a, nil},
		{"sticky held down", edgepool.Table{Pool: sized(1, 1), Health: held(nil, 1, a)}, edgepool.Request{Sticky: a}, b, nil},
		{"sticky avoided", edgepool.Table{Pool: sized(1, 1)}, edgepool.Request{Sticky: a, Avoid: a}, b, nil},
		{"avoid", edgepool.Table{Pool: sized(1, 1)}, edgepool.Request{Avoid: a}, b, nil},
		{"avoid is all there is", edgepool.Table{Pool: sized(1)}, edgepool.Request{Avoid: a}, a, nil},
		{"held down rather than avoided", edgepool.Table{Pool: sized(1, 1), Health: held(nil, 1, b)}, edgepool.Request{Avoid: a}, b, nil},
		{"the hold that ends first", edgepool.Table{Pool: sized(1, 1), Health: held(held(nil, 3, a), 1, b)}, edgepool.Request{}, b, nil},
		{"region in use less", edgepool.Table{Pool: sized(9, 1), Used: used{1: edge("r0", "10.0.0.5:7844")}}, edgepool.Request{}, b, nil},
		{"region with more room", edgepool.Table{Pool: sized(1, 2)}, edgepool.Request{}, b, nil},
		{
			"well region before used less",
			edgepool.Table{Pool: sized(2, 1), Used: used{1: a}, Health: held(nil, 1, b)},
			edgepool.Request{},
			edge("r0", "10.0.0.1:7844"),
			nil,
		},
		{
			"a region with two addresses held down is in doubt, however little it is used",
			edgepool.Table{
				Pool: sized(4, 4), Used: used{1: edge("r1", "10.0.1.3:7844")},
				Health: held(nil, 1, edge("r0", "10.0.0.0:7844"), edge("r0", "10.0.0.1:7844")),
			},
			edgepool.Request{},
			b,
			nil,
		},
		{
			"it is not while another slot uses a well address of it",
			edgepool.Table{
				Pool: sized(4, 4), Used: used{1: edge("r0", "10.0.0.3:7844"), 2: edge("r1", "10.0.1.2:7844"), 3: edge("r1", "10.0.1.3:7844")},
				Health: held(nil, 1, edge("r0", "10.0.0.0:7844"), edge("r0", "10.0.0.1:7844")),
			},
			edgepool.Request{},
			edge("r0", "10.0.0.2:7844"),
			nil,
		},
		{
			"doubt about all regions is about none",
			edgepool.Table{
				Pool: sized(3, 4), Used: used{1: edge("r1", "10.0.1.3:7844")},
				Health: held(nil, 1, edge("r0", "10.0.0.0:7844"), edge("r0", "10.0.0.1:7844"), b, edge("r1", "10.0.1.1:7844"),
					edge("r1", "10.0.1.3:7844")),
			},
			edgepool.Request{},
			edge("r0", "10.0.0.2:7844"),
			nil,
		},
		{"preferred family", edgepool.Table{Pool: dual}, edgepool.Request{}, edge("r0", "[2001:db8::1]:1"), nil},
		{"only v4", edgepool.Table{Pool: dual, Family: edgepool.V4}, edgepool.Request{}, edge("r0", "192.0.2.1:1"), nil},
		{
			"only v6",
			edgepool.Table{Pool: dual, Family: edgepool.V6, Used: used{1: edge("r0", "[2001:db8::1]:1")}},
			edgepool.Request{},
			edge("r1", "[2001:db8::2]:1"),
			nil,
		},
		{
			"other family when the preferred is ill",
			edgepool.Table{Pool: dual, Health: held(nil, 1, edge("r0", "[2001:db8::1]:1"), edge("r1", "192.0.2.2:1"))},
			edgepool.Request{},
			edge("r0", "192.0.2.1:1"),
			nil,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := edgepool.Allocate(epoch, c.table, c.request, first)
			if got != c.want || !errors.Is(err, c.wantErr) {
				t.Errorf("Allocate: got %v, %v, want %v, %v", got, err, c.want, c.wantErr)
			}
		})
	}
}

// Invariant I2 and the balance of regions, over many pools, histories and seeds.
func TestAllocateInvariants(t *testing.T) {
	for seed := range uint64(300) {
		rnd := random(seed)
		p := sized(1+rnd(5), 1+rnd(5))
		table := edgepool.Table{Pool: p, Used: map[tunnel.ConnIndex]tunnel.EdgeAddr{}}
		now := epoch
		for step := range 40 {
			index := tunnel.ConnIndex(rnd(6))
			request := edgepool.Request{Index: index, Sticky: table.Used[index]}
			if rnd(3) == 0 {
				request.Avoid = table.Used[index]
				table.Health = table.Health.After(request.Avoid.Addr, tunnel.ReasonDial, now)
			}
			now = now.Add(time.Duration(rnd(20)) * time.Second)
			free := map[netip.AddrPort]bool{}
			for _, a := range p.Addresses(edgepool.Any) {
				free[a.Addr] = true
			}
			for other, a := range table.Used {
				if other != index {
					delete(free, a.Addr)
				}
			}
			got, err := edgepool.Allocate(now, table, request, rnd)
			where := fmt.Sprintf("seed %d step %d slot %d", seed, step, index)
			if (err == nil) != (len(free) > 0) {
				t.Fatalf("%s: %d free addresses, got %v, %v", where, len(free), got, err)
			}
			if err != nil {
				continue
			}
			if !free[got.Addr] {
				t.Fatalf("%s: %v is used by another slot", where, got)
			}
			if got.Addr == request.Avoid.Addr && len(free) > 1 {
				t.Fatalf("%s: got the avoided address with %d free", where, len(free))
			}
			table.Used[index] = got
		}
	}
}

func TestAllocateSpreadsAndRepeats(t *testing.T) {
	run := func(seed uint64) map[tunnel.ConnIndex]tunnel.EdgeAddr {
		table := edgepool.Table{Pool: sized(10, 3), Used: map[tunnel.ConnIndex]tunnel.EdgeAddr{}}
		for i := range tunnel.ConnIndex(4) {
			got, err := edgepool.Allocate(epoch, table, edgepool.Request{Index: i}, random(seed+uint64(i)))
			if err != nil {
				t.Fatal(err)
			}
			table.Used[i] = got
		}
		return table.Used
	}
	for seed := range uint64(50) {
		got := run(seed)
		load := map[tunnel.Region]int{}
		for _, a := range got {
			load[a.Region]++
		}
		if load["r0"] != 2 || load["r1"] != 2 {
			t.Errorf("seed %d: regions %v, want two each", seed, load)
		}
		if diff := cmp.Diff(got, run(seed), cmp.Comparer(func(a, b tunnel.EdgeAddr) bool { return a == b })); diff != "" {
			t.Errorf("seed %d: the same arguments gave another choice:\n%s", seed, diff)
		}
	}
}

func TestHealth(t *testing.T) {
	a := netip.MustParseAddrPort("192.0.2.1:7844")
	var h edgepool.Health
	last := time.Duration(0)
	for i := range 12 {
		next := h.After(a, tunnel.ReasonDial, epoch)
		if h != nil && next[a] == h[a] {
			t.Fatal("After changed its receiver, or nothing")
		}
		h = next
		held := h[a].HeldUntil.Sub(epoch)
		if held < last || held > edgepool.HoldMax {
			t.Errorf("hold %d: got %v after %v", i+1, held, last)
		}
		last = held
	}
	if last != edgepool.HoldMax {
		t.Errorf("longest hold: got %v, want %v", last, edgepool.HoldMax)
	}
	if !h.Held(a, epoch) || h.Held(a, epoch.Add(edgepool.HoldMax)) {
		t.Error("Held does not end with the hold")
	}
	if got := h.After(a, tunnel.ReasonDuplicate, epoch); got[a] != h[a] {
		t.Errorf("a duplicate changed the health: %+v", got)
	}
	if got := h.After(a, tunnel.ReasonNone, epoch); len(got) != 0 || len(h) != 1 {
		t.Errorf("after a success: got %v, and the old one %v", got, h)
	}
	if got := h.Within(sized(1)); len(got) != 0 {
		t.Errorf("Within a pool without the address: got %v", got)
	}
	keep := edgepool.Pool{Regions: []edgepool.RegionPool{edgepool.NewRegion("r", []netip.AddrPort{a})}}
	if got := h.Within(keep); got[a] != h[a] {
		t.Errorf("Within: got %v, want %v", got, h)
	}
}

func TestJudge(t *testing.T) {
	want := map[tunnel.Reason]edgepool.Verdict{
		tunnel.ReasonDial:      {Move: true, Bad: true},
		tunnel.ReasonTLS:       {Move: true, Bad: true},
		tunnel.ReasonClosed:    {Move: true, Bad: true},
		tunnel.ReasonIdle:      {Move: true, Bad: true},
		tunnel.ReasonDuplicate: {Move: true},
	}
	for _, r := range []tunnel.Reason{
		tunnel.ReasonNone, tunnel.ReasonDial, tunnel.ReasonBlocked, tunnel.ReasonTLS, tunnel.ReasonDuplicate, tunnel.ReasonRefused,
		tunnel.ReasonRPC, tunnel.ReasonClosed, tunnel.ReasonIdle, tunnel.ReasonPeerClosed, tunnel.ReasonDrained, tunnel.ReasonForced,
		tunnel.ReasonFenced, tunnel.ReasonInternal, "unheard of",
	} {
		if got := edgepool.Judge(r); got != want[r] {
			t.Errorf("Judge(%q): got %+v, want %+v", r, got, want[r])
		}
	}
}

func TestCap(t *testing.T) {
	for _, c := range []struct {
		requested, available, want int
		spare                      bool
	}{
		{4, 0, 0, false},
		{4, 1, 1, false},
		{2, 2, 2, false},
		{1, 2, 1, true},
		{4, 2, 2, false},
		{4, 4, 4, false},
		{4, 5, 4, true},
		{4, 40, 4, true},
		{1, 1, 1, false},
		{0, 3, 0, true},
		{-1, 3, 0, true},
	} {
		if got, spare := edgepool.Cap(c.requested, c.available); got != c.want || spare != c.spare {
			t.Errorf("Cap(%d, %d): got %d, %v, want %d, %v", c.requested, c.available, got, spare, c.want, c.spare)
		}
	}
}

func TestFamily(t *testing.T) {
	for _, f := range []edgepool.Family{edgepool.Any, edgepool.V4, edgepool.V6} {
		if got, err := edgepool.ParseFamily(f.String()); got != f || err != nil {
			t.Errorf("ParseFamily(%q): got %v, %v", f.String(), got, err)
		}
	}
	if _, err := edgepool.ParseFamily("ipv4"); err == nil {
		t.Error("ParseFamily(ipv4) succeeded")
	}
	for text, want := range map[string]edgepool.Family{"192.0.2.1": edgepool.V4, "::ffff:192.0.2.1": edgepool.V4, "::1": edgepool.V6} {
		if got := edgepool.FamilyOf(netip.MustParseAddr(text)); got != want {
			t.Errorf("FamilyOf(%s): got %v, want %v", text, got, want)
		}
	}
	if got := edgepool.FamilyOf(netip.Addr{}); got != edgepool.Any {
		t.Errorf("FamilyOf(none): got %v", got)
	}
}

func TestStatic(t *testing.T) {
	got := edgepool.Static(addrs("10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:1", "[::1]:1", "[::ffff:10.0.0.4]:1"))
	want := []edgepool.RegionPool{
		{Name: "region1", V4: addrs("10.0.0.1:1"), V6: addrs("[::1]:1")},
		{Name: "region2", V4: addrs("10.0.0.2:1", "10.0.0.4:1")},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("Static (-want +got):\n%s", diff)
	}
}

func TestDistinctAndSame(t *testing.T) {
	p := edgepool.Pool{Version: 1, Regions: []edgepool.RegionPool{
		edgepool.NewRegion("a", addrs("10.0.0.1:1", "10.0.0.1:1", "[::1]:1")),
		edgepool.NewRegion("b", addrs("[::1]:1", "10.0.0.1:1", "10.0.0.2:1")),
	}}
	q := edgepool.Pool{Version: 2, Source: edgepool.SourceDoT, Regions: edgepool.Distinct(p.Regions)}
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("Validate with a shared address: got %v", err)
	}
	q.Regions[1].PreferV6 = false
	if err := q.Validate(); err != nil {
		t.Errorf("Validate of distinct regions: %v", err)
	}
	if got := q.Count(edgepool.Any); got != 3 {
		t.Errorf("distinct addresses: got %d, want 3", got)
	}
	r := q
	r.Version, r.Source = 9, edgepool.SourceSRV
	if edgepool.Same(p, q) || !edgepool.Same(q, r) {
		t.Errorf("Same: got %v, %v, want false, true", edgepool.Same(p, q), edgepool.Same(q, r))
	}
	r.FeatureTXT = "{}"
	if edgepool.Same(q, r) {
		t.Error("Same ignores the feature record")
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		pool edgepool.Pool
		want string
	}{
		{"good", sized(1, 1), ""},
		{"one region", sized(2, 0), "needed: 2"},
		{"empty", sized(), "needed: 2"},
		{"static, one address", edgepool.Pool{Source: edgepool.SourceStatic, Regions: edgepool.Static(addrs("10.0.0.1:1"))}, ""},
		{"static, empty", edgepool.Pool{Source: edgepool.SourceStatic, Regions: edgepool.Static(nil)}, "needed: 1"},
		{"no port", edgepool.Pool{Source: edgepool.SourceStatic, Regions: edgepool.Static(addrs("10.0.0.1:0"))}, "no port"},
		{"unspecified", edgepool.Pool{Source: edgepool.SourceStatic, Regions: edgepool.Static(addrs("0.0.0.0:1"))}, "cannot be dialled"},
		{
			"region twice", edgepool.Pool{Regions: []edgepool.RegionPool{
				{Name: "a", V4: addrs("10.0.0.1:1")}, {Name: "a", V4: addrs("10.0.0.2:1")},
			}}, "listed twice",
		},
		{
			"wrong family", edgepool.Pool{Source: edgepool.SourceStatic, Regions: []edgepool.RegionPool{
				{V6: addrs("10.0.0.1:1")},
			}}, "listed as IPv6",
		},
		{"wrong family", edgepool.Pool{Source: edgepool.SourceStatic, Regions: []edgepool.RegionPool{{V4: addrs("[::1]:1")}}}, "listed as IPv4"},
		{"zero", edgepool.Pool{Source: edgepool.SourceStatic, Regions: []edgepool.RegionPool{{V4: make([]netip.AddrPort, 1)}}}, "is empty"},
	} {
		err := c.pool.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
