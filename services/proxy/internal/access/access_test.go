package access_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/access"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// within runs f in fake time with an issuer that has the keys of the signers.
func within(t *testing.T, f func(t *testing.T, i *issuer), signers ...signer) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		for _, s := range signers {
			i.keys = append(i.keys, s.public())
		}
		ring := access.New(i.cfg, i.dial, i.ca.Pool(), nil)
		defer ring.Close()
		i.guard = ring.Guard(ingress.Access{Required: true, Issuer: issuerURL, AudTag: []string{"a"}})
		f(t, i)
	})
}

// pass lets fake time pass.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // fake time

// expect checks a token: its status (0 passes) and the number of fetches since the start.
func (i *issuer) expect(what, token string, status, fetches int) {
	i.t.Helper()
	err := i.guard.Check(i.t.Context(), header(token))
	got := 0
	var refused *access.RefusedError
	if errors.As(err, &refused) {
		got = refused.Status()
	}
	if got != status || (err == nil) != (status == 0) {
		i.t.Errorf("%s: %v, want status %d", what, err, status)
	}
	if err != nil && len(token) > 8 && strings.Contains(err.Error(), token[:8]) {
		i.t.Errorf("%s: the error holds a part of the token: %v", what, err)
	}
	synctest.Wait()
	if n := i.count(); n != fetches {
		i.t.Errorf("%s: %d fetches, want %d", what, n, fetches)
	}
}

func TestKeysAreCachedAndFollowTheIssuer(t *testing.T) {
	old, fresh, stranger := newSigner(t, "1", jose.RS256), newSigner(t, "2", jose.ES256), newSigner(t, "1", jose.RS256)
	within(t, func(t *testing.T, i *issuer) {
		i.expect("first token", old.token(t, claims()), 0, 1)
		i.expect("same key again", old.token(t, claims()), 0, 1)
		i.expect("bad signature with a known id", stranger.token(t, claims()), 403, 1)
		i.set(func() { i.keys = append(i.keys, fresh.public()) })
		i.expect("new key within 30 s of the last fetch", fresh.token(t, claims()), 403, 1)
		pass(30 * time.Second)
		i.expect("new key", fresh.token(t, claims()), 0, 2)
		for range 100 {
			i.expect("unknown id", newKid(t, stranger), 403, 2)
		}
		i.set(func() { i.down = true })
		i.expect("issuer is down, cached key", old.token(t, claims()), 0, 2)
		pass(time.Minute)
		i.expect("issuer is down, unknown id", newKid(t, stranger), 503, 2)
		pass(time.Hour)
		i.expect("issuer is down, old keys", old.token(t, claims()), 0, 2)
		i.set(func() { i.down, i.keys = false, i.keys[1:] })
		pass(time.Minute)
		i.expect("old keys are used while new ones come", old.token(t, claims()), 0, 3)
		i.expect("removed key", old.token(t, claims()), 403, 3)
	}, old)
}

func newKid(t *testing.T, s signer) string {
	s.id = "unknown"
	return s.token(t, claims())
}

func TestRequestsShareOneFetch(t *testing.T) {
	s := newSigner(t, "1", jose.ES256)
	within(t, func(t *testing.T, i *issuer) {
		release := make(chan struct{})
		i.set(func() { i.wait = release })
		token := s.token(t, claims())
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := i.guard.Check(t.Context(), header(token)); err != nil {
					t.Error(err)
				}
			})
		}
		impatient, leave := context.WithCancel(t.Context())
		wg.Go(func() {
			if err := i.guard.Check(impatient, header(token)); !errors.Is(err, context.Canceled) {
				t.Errorf("request that was cancelled: %v", err)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		wg.Wait()
		if n := i.count(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	}, s)
}

func TestIssuerThatCannotBeUsed(t *testing.T) {
	s := newSigner(t, "1", jose.ES256)
	for name, spoil := range map[string]func(i *issuer){
		"down":             func(i *issuer) { i.down = true },
		"silent":           func(i *issuer) { i.wait = i.over },
		"another issuer":   func(i *issuer) { i.about = "https://evil.test" },
		"no usable key":    func(i *issuer) { i.keys = []any{map[string]string{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}} },
		"unknown CA":       func(i *issuer) { i.ca = testkit.NewCA(i.t) },
		"private key only": func(i *issuer) { i.keys = []any{jose.JSONWebKey{Key: s.key, KeyID: "1"}} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIssuer(t)
				i.keys = []any{s.public()}
				spoil(i)
				ring := access.New(i.cfg, i.dial, i.ca.Pool(), nil)
				defer ring.Close()
				g := ring.Guard(ingress.Access{Required: true, Issuer: issuerURL, AudTag: []string{"a"}})
				err := g.Check(t.Context(), header(s.token(t, claims())))
				var refused *access.RefusedError
				if !errors.As(err, &refused) || refused.Status() != http.StatusServiceUnavailable {
					t.Errorf("%v, want status 503", err)
				}
			})
		})
	}
}

func TestKeysOfUnknownKindsHideNoOthers(t *testing.T) {
	s := newSigner(t, "1", jose.RS256)
	within(t, func(t *testing.T, i *issuer) {
		i.set(func() { i.keys = append([]any{map[string]string{"kty": "new", "kid": "0"}}, i.keys...) })
		i.expect("token", s.token(t, claims()), 0, 1)
	}, s)
}

func TestTokens(t *testing.T) {
	rs, es := newSigner(t, "r", jose.RS256), newSigner(t, "e", jose.ES256)
	anonymous, ps := rs, rs
	anonymous.id = ""
	ps.alg = jose.PS256
	crossed := es
	crossed.id = "r" // names a key of the other algorithm
	within(t, func(t *testing.T, i *issuer) {
		i.expect("RS256", rs.token(t, claims()), 0, 1)
		i.expect("ES256", es.token(t, claims()), 0, 1)
		i.expect("no key id", anonymous.token(t, claims()), 0, 1)
		i.expect("PS256", ps.token(t, claims()), 403, 1)
		i.expect("key of another algorithm", crossed.token(t, claims()), 403, 1)
		i.expect("text", "no token at all", 403, 1)
		i.expect("nothing", "", 403, 1)
		whole := rs.token(t, claims())
		i.expect("claims that were changed", whole[:60]+"x"+whole[61:], 403, 1)
		i.expect("no signature", whole[:strings.LastIndexByte(whole, '.')+1], 403, 1)
		for name, h := range map[string]http.Header{
			"cookie":                 {"Cookie": {"a=b; CF_Authorization=" + whole}},
			"second cookie line":     {"Cookie": {"a=b", "CF_Authorization=" + whole}},
			"header before a cookie": {"Cf-Access-Jwt-Assertion": {whole}, "Cookie": {"CF_Authorization=x"}},
		} {
			if err := i.guard.Check(t.Context(), h); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, h := range map[string]http.Header{
			"bearer":                     {"Authorization": {"Bearer " + whole}},
			"bad header, good cookie":    {"Cf-Access-Jwt-Assertion": {"x"}, "Cookie": {"CF_Authorization=" + whole}},
			"cookie of a similar name":   {"Cookie": {"CF_Authorization2=" + whole}},
			"cookie in another's letter": {"Cookie": {"cf_authorization=" + whole}},
		} {
			if err := i.guard.Check(t.Context(), h); err == nil {
				t.Errorf("%s: passed", name)
			}
		}
	}, rs, es)
}

func TestGuardWithoutSettingsRefuses(t *testing.T) {
	reg := prometheus.NewRegistry()
	ring := access.New(access.Default(), nil, nil, reg)
	defer ring.Close()
	for _, g := range []*access.Guard{
		ring.Guard(ingress.Access{Required: true}),
		ring.Guard(ingress.Access{Required: true, TeamName: "acme"}),
		(*access.Keyring)(nil).Guard(ingress.Access{Required: true, TeamName: "acme", AudTag: []string{"a"}}),
	} {
		err := g.Check(t.Context(), header("x"))
		var refused *access.RefusedError
		if g.Broken() == nil || !errors.As(err, &refused) || refused.Status() != http.StatusForbidden {
			t.Errorf("broken %v, check %v", g.Broken(), err)
		}
	}
	_ = ring.Guard(ingress.Access{Required: true, TeamName: "acme", AudTag: []string{"a"}}).Check(t.Context(), http.Header{})
	const want = `
# HELP culvert_proxy_access_checks_total Requests to rules that demand an access token.
# TYPE culvert_proxy_access_checks_total counter
culvert_proxy_access_checks_total{result="no_keys"} 0
culvert_proxy_access_checks_total{result="no_token"} 1
culvert_proxy_access_checks_total{result="ok"} 0
culvert_proxy_access_checks_total{result="refused"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "culvert_proxy_access_checks_total"); err != nil {
		t.Error(err)
	}
}

// FuzzCheck gives the guard arbitrary tokens: none passes that no issuer signed, and none is in an error.
func FuzzCheck(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJSUzI1NiJ9.e30.AA")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(`{"payload":"e30","signatures":[]}`)
	ctx, cancel := context.WithCancel(f.Context())
	cancel() // no keys are fetched
	ring := access.New(access.Default(), nil, nil, nil)
	ring.Close()
	g := ring.Guard(ingress.Access{Required: true, TeamName: "acme", AudTag: []string{"a"}})
	f.Fuzz(func(t *testing.T, token string) {
		err := g.Check(ctx, header(token))
		if err == nil {
			t.Fatalf("passed: %q", token)
		}
		if len(token) > 20 && strings.Contains(err.Error(), token) {
			t.Fatalf("the error holds the token: %v", err)
		}
	})
}
