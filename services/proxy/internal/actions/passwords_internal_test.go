package actions

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// hashOfSecret is the bcrypt hash of "secret", cost 4.
const hashOfSecret = "$2a$04$NTXwwoTF2f484AAamrajB.CK39VAab2iogZxW04hNx7Dd22vcCEgy"

func credentials(user, password string) http.Header {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header
}

// TestWaitingForAPasswordCheckIsBounded holds both places where passwords are checked and lets visitors wait.
func TestWaitingForAPasswordCheckIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(&ingress.Actions{Users: map[string]string{"alice": hashOfSecret}, MaxBody: -1})
		p := a.passwords
		for range maxChecks {
			p.slots <- struct{}{}
		}
		visitor := func(n byte) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, 7: n, 15: 1}) }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answers := make(chan Credentials, 2*maxWaiting)
		check := func(n int, from netip.Addr) {
			t.Helper()
			for range n {
				go func() { answers <- p.Check(ctx, credentials("alice", "secret"), from) }()
			}
			synctest.Wait()
			if len(answers) != 0 {
				t.Fatalf("%d requests from %s did not wait", len(answers), from)
			}
		}
		refused := func(from netip.Addr) {
			t.Helper()
			if c := p.Check(ctx, credentials("alice", "secret"), from); c != Busy {
				t.Errorf("visitor %s: %d, want busy", from, c)
			}
		}
		check(maxWaitingEach, visitor(1))
		refused(visitor(1).Next())                     // of the same /64
		check(maxWaiting-maxWaitingEach, netip.Addr{}) // nobody knows how many visitors these are
		refused(visitor(2))
		if _, _, no := a.Admit(ctx, credentials("alice", "secret"), visitor(2), 0); no == nil || no.Status != 503 || !no.Checks ||
			len(no.Header) != 1 || no.Header[0][0] != "Retry-After" {
			t.Errorf("refusal %+v, want 503 with Retry-After", no)
		}
		if c := p.Check(ctx, http.Header{}, visitor(2)); c != Bad {
			t.Errorf("no credentials: %d, want bad, as there is nothing to check", c)
		}
		cancel() // all visitors leave
		synctest.Wait()
		if len(answers) != maxWaiting || p.waiting != 0 || len(p.each) != 0 {
			t.Fatalf("%d requests have ended, %d wait, of %d visitors", len(answers), p.waiting, len(p.each))
		}
		for range maxWaiting {
			if c := <-answers; c == Good {
				t.Error("good without a check")
			}
		}
		ctx = t.Context()
		check(maxWaitingEach, visitor(1))
		for range maxChecks {
			<-p.slots
		}
		for range maxWaitingEach {
			if c := <-answers; c != Good {
				t.Errorf("%d after the wait, want good", c)
			}
		}
	})
}
