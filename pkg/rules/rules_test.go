package rules_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestReplaces(t *testing.T) {
	if rules.Local().Push != remoteconfig.LocalVersion {
		t.Errorf("local rules are at %+v", rules.Local())
	}
	at := func(push int32, number uint64) rules.Position { return rules.Position{Push: push, Number: number} }
	for _, c := range []struct {
		name     string
		now, new rules.Position
		want     bool
	}{
		{"an operator's version over local rules", rules.Local(), at(-1, 7), true},
		{"a push over local rules", rules.Local(), at(0, 0), true},
		{"a push over an operator's version without a push", at(-1, 7), at(0, 0), true},
		{"a version made on top of the push", at(3, 0), at(3, 8), true},
		{"a version made before the push", at(3, 0), at(2, 9), false},
		{"the push that a version was made on top of", at(3, 8), at(3, 0), false},
		{"a later push", at(3, 8), at(4, 0), true},
		{"a later version", at(3, 8), at(3, 9), true},
		{"an earlier version", at(3, 9), at(3, 8), false},
		{"the same", at(3, 9), at(3, 9), false},
		{"local rules again", at(3, 9), rules.Local(), false},
	} {
		if got := c.new.Replaces(c.now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestResults(t *testing.T) {
	newest := rules.Position{Push: 3, Number: 9}
	in, other := rules.Result{Proxy: "a", InForce: newest}, rules.Result{Proxy: "c", Tried: 8}
	out := rules.Result{Proxy: "b", Tried: 9, Error: "e"}
	for r, want := range map[rules.Result]rules.State{in: rules.InForce, out: rules.Rejected, other: rules.Pending, {}: rules.Pending} {
		if got := r.State(newest); got != want {
			t.Errorf("%+v: %s, want %s", r, got, want)
		}
	}
	h := rules.History{Results: []rules.Result{in, out}}
	if got := h.Of(nil); len(got) != 2 {
		t.Errorf("without registered ones: %+v", got)
	}
	got := h.Of([]string{"b", "new"})
	if len(got) != 2 || got[0] != out || got[1] != (rules.Result{Proxy: "new", InForce: rules.Local()}) {
		t.Errorf("of two registered ones: %+v", got)
	}
}

// modelStore numbers versions as the store does, and loses its last writes when it fails over.
type modelStore struct {
	now      uint64 // ms
	push     int32
	versions []rules.Position
}

func (s *modelStore) write() rules.Position {
	number := s.now
	if n := len(s.versions); n > 0 {
		number = max(number, s.versions[n-1].Number+1)
	}
	p := rules.Position{Push: s.push, Number: number}
	s.versions = append(s.versions, p)
	return p
}

// TestModel: with messages that are lost, repeated and reordered, and a store that fails over, no proxy goes back, no number is
// used twice, and when all is delivered at last, the proxies agree.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 10))
		store := modelStore{now: 1, push: -1}
		proxies := []rules.Position{rules.Local(), rules.Local(), rules.Local()}
		var sent []rules.Position
		used := map[uint64]bool{}
		deliver := func(i int, p rules.Position) {
			if before := proxies[i]; p.Replaces(before) {
				proxies[i] = p
				if p.Push < before.Push || p.Push == before.Push && p.Number < before.Number {
					t.Fatalf("seed %d: a proxy went from %v back to %v", seed, before, p)
				}
			}
		}
		pushed := int32(-1)
		for range 200 {
			store.now += 1 + r.Uint64N(5)
			switch n := r.IntN(10); {
			case n == 0:
				pushed++
				sent = append(sent, rules.Position{Push: pushed})
			case n < 3:
				p := store.write()
				if used[p.Number] {
					t.Fatalf("seed %d: the number %d was used twice", seed, p.Number)
				}
				used[p.Number] = true
				sent = append(sent, p)
			case n == 3 && len(store.versions) > 0: // a failover loses what was written last
				store.versions = store.versions[:r.IntN(len(store.versions))]
				store.push = min(store.push, int32(r.IntN(int(pushed)+2))-1)
			case n == 4: // a proxy reports what it has
				store.push = max(store.push, proxies[r.IntN(len(proxies))].Push)
			default: // any message, to any proxy, any number of times or never
				if len(sent) > 0 {
					deliver(r.IntN(len(proxies)), sent[r.IntN(len(sent))])
				}
			}
		}
		for i := range proxies {
			for _, n := range r.Perm(len(sent)) {
				deliver(i, sent[n])
			}
			if proxies[i] != proxies[0] {
				t.Fatalf("seed %d: proxies have %v after everything was delivered", seed, proxies)
			}
		}
	}
}

func newKey(t testing.TB, lines ...string) *rules.Key {
	t.Helper()
	for i, l := range lines {
		lines[i] = strings.Repeat(l, rules.MinKey)
	}
	key, err := rules.NewKey([]byte("# keys\n\n  " + strings.Join(lines, "\r\n") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSeal(t *testing.T) {
	key, other, one, at := newKey(t, "k"), newKey(t, "o"), tunnel.ID{1}, rules.Position{Push: 3, Number: 9}
	const document = `{"ingress":[{"service":"http://user:secret@h"}]}`
	sealed := key.Seal(one, at, []byte(document))
	if strings.Contains(sealed, "secret") || sealed == key.Seal(one, at, []byte(document)) {
		t.Errorf("sealed as %s", sealed)
	}
	if h := key.Hash([]byte(document)); len(h) != 32 || h != key.Hash([]byte(document)) || h == other.Hash([]byte(document)) {
		t.Errorf("hash %q", h)
	}
	if got, err := key.Open(one, at, sealed); err != nil || string(got) != document {
		t.Errorf("opened as %s, %v", got, err)
	}
	name, text, _ := strings.Cut(sealed, ".")
	stolen, _, _ := strings.Cut(other.Seal(one, at, nil), ".")
	for what, open := range map[string]func() ([]byte, error){
		"another tunnel":             func() ([]byte, error) { return key.Open(tunnel.ID{2}, at, sealed) },
		"a new number":               func() ([]byte, error) { return key.Open(one, rules.Position{Push: 3, Number: 10}, sealed) },
		"an old number":              func() ([]byte, error) { return key.Open(one, rules.Position{Push: 3, Number: 8}, sealed) },
		"another push":               func() ([]byte, error) { return key.Open(one, rules.Position{Push: 4, Number: 9}, sealed) },
		"without a push":             func() ([]byte, error) { return key.Open(one, rules.Position{Push: -1, Number: 9}, sealed) },
		"another key":                func() ([]byte, error) { return other.Open(one, at, sealed) },
		"another key under its name": func() ([]byte, error) { return other.Open(one, at, stolen+"."+text) },
		"changed":                    func() ([]byte, error) { return key.Open(one, at, name+".AAAA"+text[4:]) },
		"without a name":             func() ([]byte, error) { return key.Open(one, at, text) },
		"clear":                      func() ([]byte, error) { return key.Open(one, at, document) },
		"nothing":                    func() ([]byte, error) { return key.Open(one, at, "") },
	} {
		if got, err := open(); !errors.Is(err, rules.ErrSealed) {
			t.Errorf("%s: opened as %s, %v", what, got, err)
		}
	}
}

// TestKeysAreReplaced: the first key seals, all of them open, until they are taken away.
func TestKeysAreReplaced(t *testing.T) {
	one, at := tunnel.ID{1}, rules.Position{Push: -1, Number: 5}
	key := newKey(t, "a")
	former := key.Seal(one, at, []byte("x"))
	opens := func(what, sealed string, want bool) {
		t.Helper()
		if _, err := key.Open(one, at, sealed); (err == nil) != want {
			t.Errorf("%s: %v, want it to open: %v", what, err, want)
		}
	}
	secret := func(l string) string { return strings.Repeat(l, rules.MinKey) }
	if err := key.Replace([]byte(secret("b") + "\n" + secret("a"))); err != nil || key.Generation() != 2 {
		t.Fatalf("%v, generation %d", err, key.Generation())
	}
	latter := key.Seal(one, at, []byte("x"))
	if key.Current(former) || !key.Current(latter) || key.Current("") {
		t.Error("the first key is not the current one")
	}
	opens("under the former key", former, true)
	opens("under the new key", latter, true)
	for text, want := range map[string]string{
		"": "no secret", "# only a comment\n": "no secret", secret("c") + "\nshort  \n": "line 2: the secret has 5 bytes, fewer than 32",
		strings.Repeat(secret("d")+"\n", 17): "17 secrets",
	} {
		if err := key.Replace([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
	opens("after replacements that failed", former, true)
	if err := key.Replace([]byte(secret("b"))); err != nil {
		t.Fatal(err)
	}
	opens("after the former key was taken away", former, false)
	opens("under the new key alone", latter, true)
}

func TestDiff(t *testing.T) {
	const one = `{"ingress":[{"hostname":"a","service":"http://h:1"},{"service":"http_status:404"}]}`
	const two = `{"ingress":[{"service":"http://h:2","hostname":"a"},{"hostname":"b","service":"hello_world"},{"service":"http_status:404"}]}`
	got, err := rules.Diff([]byte(one), []byte(two))
	want := ` {
   "ingress": [
     {
       "hostname": "a",
-      "service": "http://h:1"
+      "service": "http://h:2"
+    },
+    {
+      "hostname": "b",
+      "service": "hello_world"
     },
     {
       "service": "http_status:404"
     }
   ]
 }
`
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	if got, err := rules.Diff([]byte(`{"b":1,"a":2.50}`), []byte(`{ "a":2.50, "b":1 }`)); err != nil || got != "" {
		t.Errorf("the same in another order: %q, %v", got, err)
	}
	if _, err := rules.Diff([]byte(one), []byte("{")); err == nil {
		t.Error("a broken document was compared")
	}
}

func TestParseChange(t *testing.T) {
	const good = `{"ingress":[{"service":"http_status:404"}]}`
	c, err := rules.ParseChange([]byte(`{"version":7,"author":"ann","config":` + good + `}`))
	if err != nil || *c.Version != 7 || c.Author != "ann" || string(c.Document) != good {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := rules.ParseChange([]byte(`{"version":7,"restore":5}`)); err != nil || c.Restore != 5 {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		``:                            "EOF",
		`{"version":7,"restore":5}{}`: "there is more",
		`{"config":` + good + `}`:     "version: is missing",
		`{"version":1}`:               "one of them is needed",
		`{"version":1,"conf":1}`:      "unknown field",
		`{"version":1,"author":"a\tb","restore":1}`:                                                          "cannot be printed",
		`{"version":1,"restore":1,"config":` + good + `}`:                                                    "one of them is needed",
		`{"version":1,"config":{"ingress":[{"hostname":"` + strings.Repeat("x", rules.MaxDocument) + `"}]}}`: "are more than",
	} {
		if _, err := rules.ParseChange([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
	}
}

// FuzzParse: what is accepted is valid, can be compared with itself, and is the same after it was sealed.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":7,"author":"ann","config":{"ingress":[{"service":"http_status:404"}]}}`))
	f.Add([]byte(`{"version":0,"restore":5}`))
	key, at := newKey(f, "k"), rules.Position{Push: 1, Number: 2}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = key.Open(tunnel.ID{1}, at, string(text))
		_, _ = rules.NewKey(text)
		c, err := rules.ParseChange(text)
		if err != nil || c.Restore != 0 {
			return
		}
		if diff, err := rules.Diff(c.Document, c.Document); err != nil || diff != "" {
			t.Errorf("compared with itself: %s, %v", diff, err)
		}
		if got, err := key.Open(tunnel.ID{1}, at, key.Seal(tunnel.ID{1}, at, c.Document)); err != nil || string(got) != string(c.Document) {
			t.Errorf("came back as %s, %v", got, err)
		}
	})
}

// TestAt: which proxies serve what the history shows.
func TestAt(t *testing.T) {
	at := func(push int32, number uint64) rules.Position { return rules.Position{Push: push, Number: number} }
	version := rules.Head{Position: at(3, 9), Source: rules.SourceAPI, Hash: "h"}
	push := rules.Head{Position: at(3, 8), Source: rules.SourcePush, Hash: "h"}
	file := rules.Head{Position: at(-1, 7), Source: rules.SourceFile, Hash: "h"}
	for _, c := range []struct {
		name     string
		head     rules.Head
		own, all rules.Result
		want     bool
	}{
		{"a version", version, rules.Result{InForce: at(3, 9)}, rules.Result{}, true},
		{"another version", version, rules.Result{InForce: at(3, 10)}, rules.Result{}, false},
		{"the push below a version", push, rules.Result{InForce: at(3, 9)}, rules.Result{}, false},
		{"a push", push, rules.Result{InForce: at(3, 0), Hash: "h"}, rules.Result{}, true},
		{"a push with another document", push, rules.Result{InForce: at(3, 0), Hash: "i"}, rules.Result{}, false},
		{"another push with the same document", push, rules.Result{InForce: at(4, 0), Hash: "h"}, rules.Result{}, false},
		{"local rules of the tunnel", file, rules.Result{InForce: rules.Local(), Hash: "h"}, rules.Result{Hash: "i"}, true},
		{"local rules for all tunnels", file, rules.Result{InForce: rules.Local()}, rules.Result{Hash: "h"}, true},
		{"local rules below a push", file, rules.Result{InForce: at(0, 0), Hash: "h"}, rules.Result{Hash: "h"}, false},
	} {
		if got := c.head.At(c.own, c.all); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
