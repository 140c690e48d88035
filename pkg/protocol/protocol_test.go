package protocol_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func vectors[T any](t *testing.T, name string) []T {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []T `json:"vectors"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) < 100 {
		t.Fatalf("%s: got %d vectors", name, len(file.Vectors))
	}
	return file.Vectors
}

func accountHash(tag string) uint8 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(tag)) // never fails
	return uint8(h.Sum32() % 100)
}

func TestSelectVectors(t *testing.T) {
	type vector struct {
		AccountTag  string `json:"account_tag"`
		Flag        string `json:"flag"`
		Token       bool   `json:"token_provided"`
		TXT         string `json:"txt"`
		LookupFails bool   `json:"lookup_fails"`
		Initial     string `json:"initial"`
		Fallback    string `json:"fallback"`
		Error       string `json:"error"`
	}
	differences := 0
	for i, v := range vectors[vector](t, "protocol_selection.json") {
		choice, err := protocol.ParseChoice(v.Flag)
		if v.Error != "" {
			if err == nil || err.Error() != v.Error {
				t.Errorf("vector %d: got error %v, want %q", i, err, v.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("vector %d: %v", i, err)
			continue
		}
		q := protocol.Criteria{Choice: choice, Token: v.Token, AccountHash: accountHash(v.AccountTag)}
		if !v.LookupFails {
			if q.Shares, err = protocol.ParseShares(v.TXT); err != nil {
				t.Errorf("vector %d: %v", i, err)
			}
		}
		want := protocol.Selection{Preferred: tunnel.Protocol(v.Initial), Fallback: tunnel.Protocol(v.Fallback)}
		if v.Flag == "auto" && v.LookupFails && !v.Token {
			// The one difference on purpose: see Select.
			differences++
			want = protocol.Selection{Preferred: tunnel.QUIC, Fallback: tunnel.HTTP2}
		}
		if got := protocol.Select(q); got != want {
			t.Errorf("vector %d: Select(%+v): got %+v, want %+v", i, q, got, want)
		}
	}
	if differences != 1 {
		t.Errorf("differences to the reference: got %d, want 1", differences)
	}
}

func TestOfferVectors(t *testing.T) {
	type vector struct {
		AccountTag    string   `json:"account_tag"`
		TXT           string   `json:"txt"`
		LookupFails   bool     `json:"lookup_fails"`
		Given         []string `json:"cli_features"`
		PostQuantum   bool     `json:"post_quantum_flag"`
		Datagram      string   `json:"datagram"`
		Features      []string `json:"features_sorted"`
		SkipPrechecks bool     `json:"skip_prechecks"`
	}
	for i, v := range vectors[vector](t, "feature_selection.json") {
		w := protocol.Wish{Given: v.Given, PostQuantum: v.PostQuantum, AccountHash: accountHash(v.AccountTag)}
		if !v.LookupFails {
			w.Record, _ = protocol.ParseFeatures(v.TXT) // a bad record is the zero one at first
		}
		want := protocol.Offer{Features: v.Features, Datagram: v.Datagram, SkipPrechecks: v.SkipPrechecks}
		if diff := cmp.Diff(want, w.Offer()); diff != "" {
			t.Errorf("vector %d: offer (-want +got):\n%s", i, diff)
		}
	}
}

func TestRecordErrors(t *testing.T) {
	for _, txt := range []string{"not json", "{}", `[{"protocol":"quic","percentage":99999999999}]`, "null"} {
		if _, err := protocol.ParseShares(txt); err == nil {
			t.Errorf("ParseShares(%q) succeeded", txt)
		}
	}
	for _, txt := range []string{"not json", `{"dv3_2":-1}`, `[]`} {
		if got, err := protocol.ParseFeatures(txt); err == nil || got != (protocol.FeatureRecord{}) {
			t.Errorf("ParseFeatures(%q): got %+v, %v", txt, got, err)
		}
	}
	if s, err := protocol.ParseShares(""); s != nil || err != nil {
		t.Errorf("ParseShares of nothing: got %v, %v", s, err)
	}
	if c, err := protocol.ParseChoice(""); c != protocol.Auto || err != nil {
		t.Errorf("ParseChoice of nothing: got %v, %v", c, err)
	}
	if err := (protocol.Wish{Given: []string{""}}).Validate(); err == nil {
		t.Error("an empty feature is valid")
	}
	if err := (protocol.Wish{Given: []string{"x"}}).Validate(); err != nil {
		t.Error(err)
	}
	pq := protocol.Wish{PostQuantum: true}.Offer()
	if !strings.Contains(strings.Join(pq.Features, " "), protocol.FeaturePostQuantum) {
		t.Errorf("features with --post-quantum: %v", pq.Features)
	}
}

func TestWithin(t *testing.T) {
	q, h := tunnel.QUIC, tunnel.HTTP2
	type sel = protocol.Selection
	for _, c := range []struct {
		sel       sel
		available []tunnel.Protocol
		want      sel
	}{
		{sel{q, h}, []tunnel.Protocol{q, h}, sel{q, h}},
		{sel{q, h}, []tunnel.Protocol{q}, sel{q, ""}},
		{sel{q, h}, []tunnel.Protocol{h}, sel{h, ""}},
		{sel{h, ""}, []tunnel.Protocol{q}, sel{q, ""}},
		{sel{q, h}, nil, sel{}},
	} {
		if got := c.sel.Within(c.available...); got != c.want {
			t.Errorf("%v.Within(%v): got %v, want %v", c.sel, c.available, got, c.want)
		}
	}
}

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a1    = netip.MustParseAddrPort("192.0.2.1:7844")
	a2    = netip.MustParseAddrPort("192.0.2.2:7844")
	both  = protocol.Selection{Preferred: tunnel.QUIC, Fallback: tunnel.HTTP2}
)

// Every state meets every event.
func TestMachineProduct(t *testing.T) {
	want := map[string]protocol.State{
		"preferring connected": protocol.Preferring, "preferring dial_failed": protocol.Preferring, "preferring blocked": protocol.Fallen,
		"preferring lost": protocol.Preferring, "preferring probe_due": protocol.Preferring, "preferring refused": protocol.Preferring,
		"fallen connected": protocol.Fallen, "fallen dial_failed": protocol.Fallen, "fallen blocked": protocol.Fallen,
		"fallen lost": protocol.Fallen, "fallen probe_due": protocol.Probing, "fallen refused": protocol.Fallen,
		"probing connected": protocol.Preferring, "probing dial_failed": protocol.Fallen, "probing blocked": protocol.Fallen,
		"probing lost": protocol.Preferring, "probing probe_due": protocol.Probing, "probing refused": protocol.Fallen,
	}
	seen := 0
	for s := protocol.Preferring; s <= protocol.Probing; s++ {
		for e := protocol.Connected; e <= protocol.Refused; e++ {
			pair := fmt.Sprintf("%v %v", s, e)
			state, found := want[pair]
			if !found {
				t.Fatalf("no expectation for %q", pair)
			}
			seen++
			got, err := protocol.Machine{Selection: both, State: s}.Step(start, e, a1)
			if err != nil || got.State != state {
				t.Errorf("%s: got %v, %v, want %v", pair, got.State, err, state)
			}
		}
	}
	if seen != len(want) {
		t.Errorf("pairs: got %d, want %d", seen, len(want))
	}
	if _, err := (protocol.Machine{State: 9}).Step(
		start,
		protocol.Event(9),
		a1,
	); err == nil ||
		!strings.Contains(err.Error(), "event(9) in state state(9)") {
		t.Errorf("unknown pair: got %v", err)
	}
}

func TestMachineStory(t *testing.T) {
	m := protocol.NewMachine(both, start)
	now := start
	do := func(e protocol.Event, a netip.AddrPort, wantState protocol.State, wantProtocol tunnel.Protocol) {
		t.Helper()
		var err error
		if m, err = m.Step(now, e, a); err != nil {
			t.Fatal(err)
		}
		if m.State != wantState || m.Current() != wantProtocol {
			t.Fatalf("after %v: got %v on %v, want %v on %v", e, m.State, m.Current(), wantState, wantProtocol)
		}
	}
	// Two failures, a success, then three failures on one address are not enough.
	do(protocol.DialFailed, a1, protocol.Preferring, tunnel.QUIC)
	do(protocol.DialFailed, a2, protocol.Preferring, tunnel.QUIC)
	do(protocol.Connected, a2, protocol.Preferring, tunnel.QUIC)
	for range 3 {
		do(protocol.DialFailed, a1, protocol.Preferring, tunnel.QUIC)
	}
	// A second address makes it so.
	do(protocol.DialFailed, a2, protocol.Fallen, tunnel.HTTP2)
	do(protocol.Connected, a2, protocol.Fallen, tunnel.HTTP2)
	for _, after := range []time.Duration{5, 10, 20, 40, 60, 60} {
		if got := m.ProbeAt.Sub(now); got != after*time.Minute {
			t.Fatalf("next probe: got %v, want %v", got, after*time.Minute)
		}
		now = m.ProbeAt
		do(protocol.ProbeDue, a1, protocol.Probing, tunnel.QUIC)
		do(protocol.DialFailed, a1, protocol.Fallen, tunnel.HTTP2)
	}
	do(protocol.ProbeDue, a1, protocol.Probing, tunnel.QUIC)
	do(protocol.Connected, a1, protocol.Preferring, tunnel.QUIC)
	if m.Failures != 0 || m.ProbeAfter != 0 {
		t.Errorf("after the way back: %+v", m)
	}
}

// A network that carries neither protocol is no reason to stay with the fallback for long.
func TestMachineDoubtsTheFallback(t *testing.T) {
	m := protocol.NewMachine(both, start)
	var protocols []string
	for range 15 {
		protocols = append(protocols, string(m.Current()))
		m, _ = m.Step(start, protocol.DialFailed, a1) // the table is complete, see TestMachineProduct
		if m.State == protocol.Fallen && m.ProbeAfter != protocol.ProbeFirst {
			t.Errorf("next probe after %v, want %v", m.ProbeAfter, protocol.ProbeFirst)
		}
	}
	want := "quic quic quic quic quic http2 http2 http2 quic http2 http2 http2 quic http2 http2"
	if got := strings.Join(protocols, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMachineOneAddress(t *testing.T) {
	m := protocol.NewMachine(both, start)
	for i := 1; i <= protocol.FallbackAlways; i++ {
		m, _ = m.Step(start, protocol.DialFailed, a1) // the table is complete, see TestMachineProduct
		if fallen := m.State == protocol.Fallen; fallen != (i == protocol.FallbackAlways) {
			t.Errorf("fallen after %d failures on one address: %v", i, fallen)
		}
	}
}

// An edge that is started again refuses all dials for some seconds, at once and on all its addresses. That is no reason to fall back; a
// firewall that refuses UDP goes on for longer.
func TestMachineRefused(t *testing.T) {
	m := protocol.NewMachine(both, start)
	fellAfter := time.Duration(-1)
	for after := time.Duration(0); after < time.Minute && m.State == protocol.Preferring; after += 100 * time.Millisecond {
		for _, a := range []netip.AddrPort{a1, a2} {
			m, _ = m.Step(start.Add(after), protocol.Refused, a) // the table is complete, see TestMachineProduct
		}
		fellAfter = after
	}
	if want := 4 * protocol.RefusedEvery; fellAfter != want { // each time the first one counts, so that it is one address
		t.Errorf("fallen after %v, want %v", fellAfter, want)
	}
	m = protocol.NewMachine(both, start)
	for i, a := range []netip.AddrPort{a1, a2, a1} {
		m, _ = m.Step(start.Add(time.Duration(i)*protocol.RefusedEvery), protocol.Refused, a)
	}
	if m.State != protocol.Fallen {
		t.Errorf("state %v after %v of refusals on two addresses", m.State, 2*protocol.RefusedEvery)
	}
}

func TestMachineWithoutFallback(t *testing.T) {
	m := protocol.NewMachine(protocol.Selection{Preferred: tunnel.QUIC}, start)
	for range 20 {
		m, _ = m.Step(start, protocol.DialFailed, a1)
		m, _ = m.Step(start, protocol.Blocked, a2)
	}
	if m.State != protocol.Preferring || m.Current() != tunnel.QUIC {
		t.Errorf("got %v on %v, want to stay on QUIC", m.State, m.Current())
	}
}

func TestEventOf(t *testing.T) {
	want := map[tunnel.Reason]protocol.Event{
		tunnel.ReasonNone: protocol.Connected, tunnel.ReasonDial: protocol.DialFailed, tunnel.ReasonTLS: protocol.DialFailed,
		tunnel.ReasonBlocked: protocol.Blocked, tunnel.ReasonIdle: protocol.Lost, tunnel.ReasonRefused: protocol.Lost, "new": protocol.Lost,
		tunnel.ReasonClosed: protocol.Refused,
	}
	for r, e := range want {
		if got := protocol.EventOf(r); got != e {
			t.Errorf("EventOf(%q): got %v, want %v", r, got, e)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(`[{"protocol":"QUIC","percentage":40}]`)
	f.Add(`{"dv3_2":50,"skip_prechecks":true}`)
	f.Add(`[]`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, txt string) {
		shares, err := protocol.ParseShares(txt)
		if err != nil && shares != nil {
			t.Errorf("ParseShares(%q): a value and an error", txt)
		}
		got := protocol.Select(protocol.Criteria{Choice: protocol.Auto, Shares: shares, AccountHash: 50})
		if got.Preferred != tunnel.QUIC && got.Preferred != tunnel.HTTP2 {
			t.Errorf("Select with %q: got %+v", txt, got)
		}
		if r, err := protocol.ParseFeatures(txt); err != nil && r != (protocol.FeatureRecord{}) {
			t.Errorf("ParseFeatures(%q): a value and an error", txt)
		}
	})
}
