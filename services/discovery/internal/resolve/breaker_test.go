package resolve

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/dnstest"
)

// silent is a name server that gets queries and never responds.
func silent(t *testing.T) (addr string, queries *atomic.Int64) {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	queries = new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2048)
		for {
			if _, _, err := conn.ReadFrom(buf); err != nil {
				return
			}
			queries.Add(1)
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close() // nothing is lost with it
		<-ended
	})
	return conn.LocalAddr().String(), queries
}

// overSystem is a client of the system's way, whose servers are these.
func overSystem(timeout time.Duration, changed func(string, State, State), servers ...string) *Client {
	c := New(Config{Timeout: timeout, Changed: changed})
	c.systemServers = func() ([]string, error) { return servers, nil }
	return c
}

// A server that never responds is left alone after three queries, and the next server does not wait for it any more.
func TestBreakerPassesOverASilentServer(t *testing.T) {
	dead, queries := silent(t)
	live := dnstest.Start(t, `a.edge.test. 60 IN TXT "x"`)
	var states []string
	c := overSystem(50*time.Millisecond, func(server string, from, to State) {
		states = append(states, server+" "+from.String()+" "+to.String())
	}, dead, live.Addr)
	for i := range 20 {
		if got, err := c.Text(t.Context(), "a.edge.test"); got != "x" || err != nil {
			t.Fatalf("Text %d = %q, %v", i, got, err)
		}
	}
	testkit.Eventually(t, "the queries to arrive", func() bool { return queries.Load() >= breakerFailures })
	if n := queries.Load(); n != breakerFailures {
		t.Errorf("the silent server got %d queries of 20, want %d", n, breakerFailures)
	}
	if want := []string{dead + " closed open"}; !slices.Equal(states, want) {
		t.Errorf("states: got %q, want %q", states, want)
	}
	if !c.breakers.resting(dead) || c.breakers.resting(live.Addr) {
		t.Error("the wrong server rests")
	}
	c.Reset()
	if _, err := c.Text(t.Context(), "a.edge.test"); err != nil {
		t.Error(err)
	}
	testkit.Eventually(t, "a query after the reset", func() bool { return queries.Load() == breakerFailures+1 })
}

// An open breaker lets no query through, whatever the server would say now, and names itself as the reason.
func TestBreakerOfTheOnlyServer(t *testing.T) {
	s := dnstest.Start(t, `a.edge.test. 60 IN TXT "x"`)
	c := New(Config{Server: s.Addr, Timeout: 5 * time.Second})
	s.Break("udp", true)
	for range breakerFailures {
		if _, err := c.Text(t.Context(), "a.edge.test"); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
			t.Errorf("Text from a server that fails: %v", err)
		}
	}
	s.Break("udp", false)
	before := s.Queries("udp")
	if _, err := c.Text(t.Context(), "a.edge.test"); !errors.Is(err, errResting) || !strings.Contains(err.Error(), s.Addr) {
		t.Errorf("Text with an open breaker: %v", err)
	}
	if s.Queries("udp") != before {
		t.Error("an open breaker let a query through")
	}
}

// That names do not exist says nothing against the server.
func TestBreakerCountsAbsentNamesAsResponses(t *testing.T) {
	s := dnstest.Start(t, `a.edge.test. 60 IN TXT "x"`)
	c := New(Config{Server: s.Addr, Timeout: 5 * time.Second})
	for range 4 * breakerFailures {
		if _, err := c.Text(t.Context(), "gone.edge.test"); !errors.Is(err, tunnel.ErrNotFound) {
			t.Fatalf("Text of a name that does not exist: %v", err)
		}
	}
	if got, err := c.Text(t.Context(), "a.edge.test"); got != "x" || err != nil {
		t.Errorf("Text = %q, %v", got, err)
	}
}

// The server over TLS has a breaker of its own.
func TestBreakerOverTLS(t *testing.T) {
	s := dnstest.Start(t)
	s.Break("udp", true)
	s.Break("dot", true)
	c := New(Config{Server: s.Addr, Timeout: 5 * time.Second, DoTAddr: s.DoTAddr, DoTTLS: func() *tls.Config {
		return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the test is about the breaker
	}})
	for range breakerFailures + 2 {
		if _, err := c.Text(t.Context(), "a.edge.test"); err == nil {
			t.Fatal("Text from broken servers succeeded")
		}
	}
	if udp, dot := s.Queries("udp"), s.Queries("dot"); udp != breakerFailures || dot != breakerFailures {
		t.Errorf("queries: %d over UDP and %d over TLS, want %d each", udp, dot, breakerFailures)
	}
}

// The life of a breaker in fake time: open for 30 s, then one query decides.
func TestBreakerLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreakers(nil, nil)
		failed := errors.New("failed")
		use := func(result error) bool {
			done, err := b.allow("s")
			if err != nil {
				return false
			}
			done(result)
			return true
		}
		after := func(d time.Duration) {
			timer := time.NewTimer(d)
			<-timer.C
		}
		for range breakerFailures - 1 {
			use(failed)
		}
		use(errNeutral)
		if b.resting("s") {
			t.Error("open before the last failure")
		}
		use(failed)
		if !b.resting("s") || use(nil) {
			t.Error("not open after the last failure")
		}
		after(breakerOpen - time.Millisecond)
		if use(nil) {
			t.Error("open for less than 30 s")
		}
		after(2 * time.Millisecond)
		done, err := b.allow("s")
		if err != nil {
			t.Fatal("not tried after 30 s")
		}
		if _, err := b.allow("s"); err == nil {
			t.Error("tried by two queries at once")
		}
		done(failed)
		if !b.resting("s") {
			t.Error("not open after the trial failed")
		}
		after(breakerOpen + time.Millisecond)
		if !use(nil) || !use(failed) || b.resting("s") {
			t.Error("not closed after a trial that succeeded")
		}
	})
}

func TestBreakersOfServersThatAreGone(t *testing.T) {
	var gone []string
	b := newBreakers(nil, func(s string) { gone = append(gone, s) })
	for _, s := range []string{"a", "b", "c"} {
		b.of(s)
	}
	b.keep("a", "c")
	if !slices.Equal(gone, []string{"b"}) || len(b.all) != 2 {
		t.Errorf("gone %q, %d kept", gone, len(b.all))
	}
}

func TestVerdict(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	failed := errors.New("failed")
	for name, tc := range map[string]struct {
		gaveUp bool
		code   int
		err    error
		want   string
	}{
		"success":   {},
		"no name":   {code: dns.RcodeNameError},
		"failure":   {code: dns.RcodeServerFailure, want: "SERVFAIL"},
		"refused":   {code: dns.RcodeRefused, want: "REFUSED"},
		"no answer": {err: failed, want: "failed"},
		"given up":  {gaveUp: true, err: failed, want: errNeutral.Error()},
	} {
		ctx := t.Context()
		if tc.gaveUp {
			ctx = ended
		}
		var reply *dns.Msg
		if tc.err == nil {
			reply = &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: tc.code}}
		}
		got := ""
		if err := verdict(ctx, reply, tc.err); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: verdict %q, want %q", name, got, tc.want)
		}
	}
}

func TestShare(t *testing.T) {
	const s = time.Second
	for _, tc := range []struct {
		limit, remaining time.Duration
		left             int
		want             time.Duration
	}{
		{5 * s, 10 * s, 0, 5 * s},
		{5 * s, 10 * s, 1, 5 * s},
		{5 * s, 9 * s, 2, 3 * s},
		{15 * s, 6 * s, 0, 6 * s},
		{5 * s, -s, 3, 0},
	} {
		if got := share(tc.limit, tc.remaining, tc.left); got != tc.want {
			t.Errorf("share(%v, %v, %d) = %v, want %v", tc.limit, tc.remaining, tc.left, got, tc.want)
		}
	}
}
