package proxy_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// operatorStore writes configurations as a supervisor does.
type operatorStore struct {
	*redisstore.Store
	t   *testing.T
	key *rules.Key
	id  tunnel.ID // of a flow without metadata
}

func newOperatorStore(t *testing.T) *operatorStore {
	t.Helper()
	s, err := redisstore.OpenEmbedded(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &operatorStore{Store: s, t: t, key: ruleKey(t, "k")}
}

func ruleKey(t *testing.T, letter string) *rules.Key {
	t.Helper()
	key, err := rules.NewKey(bytes.Repeat([]byte(letter), rules.MinKey))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// put writes the next version.
func (s *operatorStore) put(key *rules.Key, document string) rules.Position {
	s.t.Helper()
	h, err := s.RuleHistory(s.t.Context(), s.id)
	if err != nil {
		s.t.Fatal(err)
	}
	last, _ := h.Newest()
	number, err := s.PutRules(s.t.Context(), s.id, last.Number, rules.Head{},
		func(at rules.Position) string { return key.Seal(s.id, at, []byte(document)) })
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.Hint(s.t.Context(), lease.TopicRules); err != nil {
		s.t.Fatal(err)
	}
	return rules.Position{Push: h.Push, Number: number}
}

// awaits waits until both proxies have said the same about the newest version, and returns what one says.
func (s *operatorStore) awaits(what string, done func(r rules.Result) bool) (one rules.Result) {
	s.t.Helper()
	testkit.Eventually(s.t, what, func() bool {
		h, err := s.RuleHistory(s.t.Context(), s.id)
		if err != nil || len(h.Results) != 2 {
			return false
		}
		one = h.Results[0]
		return done(h.Results[0]) && done(h.Results[1])
	})
	return one
}

func status(code string) string { return `{"ingress":[{"service":"http_status:` + code + `"}]}` }

// TestOperatorsVersions: two proxies follow the store, keep what they have when a version is of no use, order versions and pushes
// in the same way, and the last one is in force after a restart without the store.
func TestOperatorsVersions(t *testing.T) {
	store := newOperatorStore(t)
	start := func(id, dir string) *running {
		cfg := proxy.Default()
		cfg.ID, cfg.StateDir = id, dir
		return run(t, cfg, proxy.Deps{Rules: helloRules(t), Versions: store, RuleKey: store.key})
	}
	dir := t.TempDir()
	a, b := start("a", dir), start("b", "")
	defer b.stop()
	serve := func(want string) {
		t.Helper()
		for _, r := range []*running{a, b} {
			if _, got := errorOf(t, link.NewDirect(r.svc.Handler()), httpRequest("app.test")); got != want {
				t.Errorf("status %s, want %s", got, want)
			}
		}
	}
	v := store.put(store.key, status("201"))
	inForce := func(r rules.Result) bool { return r.State(v) == rules.InForce }
	store.awaits("the first version is in force", inForce)
	serve("201")

	for _, bad := range []struct{ document, want string }{
		{`{"ingress":[{"service":"https://h","originRequest":{"caPool":"/none.pem"}}]}`, "none.pem"}, {`{`, "JSON"},
	} {
		v = store.put(store.key, bad.document)
		r := store.awaits("a bad version is rejected", func(r rules.Result) bool { return r.State(v) == rules.Rejected })
		if !strings.Contains(r.Error, bad.want) {
			t.Errorf("%s: %s", bad.document, r.Error)
		}
	}
	v = store.put(ruleKey(t, "o"), status("299"))
	r := store.awaits("a version under another key is refused", func(r rules.Result) bool { return r.State(v) == rules.Rejected })
	if !strings.Contains(r.Error, rules.ErrSealed.Error()) {
		t.Errorf("another key: %s", r.Error)
	}
	serve("201")

	push := func(r *running, version int32, document string, want int32) {
		t.Helper()
		u := remoteconfig.Update{Tunnel: store.id, Version: version, Document: []byte(document)}
		if got, err := r.svc.Apply(t.Context(), u); err != nil || got != want {
			t.Errorf("push %d: %d, %v, want %d", version, got, err, want)
		}
	}
	push(a, 3, status("203"), 3)
	testkit.Eventually(t, "the push is known to the store", func() bool {
		h, err := store.RuleHistory(t.Context(), store.id)
		return err == nil && h.Push == 3
	})
	v = store.put(store.key, status("204"))
	store.awaits("a version on top of the push is in force", inForce)
	push(b, 3, status("203"), 3) // late
	serve("204")

	a.stop()
	cfg := proxy.Default()
	cfg.StateDir = dir
	a = run(t, cfg, proxy.Deps{Rules: helloRules(t)})
	defer func() { a.stop() }()
	serve("204")
	push(a, 3, status("203"), 3)
	serve("204")
	push(a, 4, status("205"), 4)
	push(b, 4, status("205"), 4)
	serve("205")
}
